from __future__ import annotations

import pytest

from tocsin.api.auth import KeyGuard


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        (),
        (("authorization", ""),),
        (("authorization", "k"),),
        (("authorization", "apikey"),),
        (("authorization", "apikey "),),
        (("authorization", "apikey  k"),),
        (("authorization", "apikey k "),),
        (("authorization", "Apikey k"),),
        (("authorization", "apikey K"),),
        (("authorization", "Bearer k"),),
        (("authorization", "apikey kk"),),
        (("x-api-key", "k"),),
        (("authorization", "apikey no"), ("authorization", "apikey k")),
        (("authorization", "apikey \u212a"),),
    ],
)
def test_refused(metadata: tuple[tuple[str, str], ...] | None) -> None:
    """Only the exact first value passes."""
    assert not KeyGuard("k").allows(metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "apikey k"),),
        (("authorization", b"apikey k"),),
        (("user-agent", "x"), ("authorization", "apikey k"), ("authorization", "no")),
    ],
)
def test_allowed(metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    """The key passes, wherever in the metadata its first value stands."""
    assert KeyGuard("k").allows(metadata)


def test_without_a_key() -> None:
    """No key means nobody, not even with an empty key in hand."""
    guard = KeyGuard("")
    assert guard.is_closed
    assert not guard.allows((("authorization", "apikey "),))


def test_insecure() -> None:
    """Insecure means everybody, also beside a key."""
    for guard in (KeyGuard("", insecure=True), KeyGuard("k", insecure=True)):
        assert guard.is_open
        assert not guard.is_closed
        assert guard.allows(())
