"""The port `LetterCopies`, on every registry."""

from __future__ import annotations

import pytest
from tests.support.registries import RegistryPlace

from tocsin.core.ports.queue_stock import LetterCopies, StoredLetter


@pytest.fixture
def copies(registry: RegistryPlace) -> LetterCopies:
    return registry.letter_copies()


def letter(number: int) -> StoredLetter:
    return StoredLetter("", "send:fcm", "p1", bytes([number, 0, 255]), b"", b"\0body")


async def test_copies_are_kept_once(copies: LetterCopies) -> None:
    """Whatever id the letter had in its queue."""
    some = [letter(number) for number in range(3)]
    await copies.add(some)
    await copies.add([*some, letter(3)])
    await copies.add([])
    found = await copies.fetch(after="", limit=10)
    assert found == {each.digest: each for each in [*some, letter(3)]}
    assert list(found) == sorted(found)


async def test_copies_are_paged(copies: LetterCopies) -> None:
    await copies.add([letter(number) for number in range(5)])
    digests = await copies.list_digests(after="", limit=10)
    assert digests == sorted(letter(number).digest for number in range(5))
    assert await copies.list_digests(after=digests[1], limit=2) == digests[2:4]
    assert list(await copies.fetch(after=digests[3], limit=9)) == digests[4:]


async def test_copies_can_be_forgotten(copies: LetterCopies) -> None:
    await copies.add([letter(number) for number in range(3)])
    await copies.remove([letter(1).digest, "unknown"])
    await copies.remove([])
    left = await copies.list_digests(after="", limit=10)
    assert set(left) == {letter(0).digest, letter(2).digest}
