"""The table of push services, with services that are none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tocsin.core.push_services import (
    BodyField,
    PushService,
    PushServices,
    RawField,
    Setup,
)
from tocsin.core.tokens import Tokens


class Fake(PushService):
    title = "Fake"

    def __init__(self, name: str, letter: str, field: str, *raw: str) -> None:
        self.name = name
        self.id_letter = letter
        self.body = BodyField(field)
        self.raw_targets = tuple(map(RawField, raw))
        self.tokens = Tokens(str.upper)

    def settings(self) -> type[Any]:
        return dict

    def build(self, settings: Any, setup: Setup) -> Any:
        return (settings, setup)

    async def imitate(self, place: Any) -> Any:
        return place


A = Fake("a-b", "x", "a", "as")


def table(*services: PushService) -> PushServices:
    made = PushServices()
    made.declared_by(lambda: services)
    return made


def test_it_is_read_in_the_order_of_the_declaration() -> None:
    """By name; what is not declared is not there, and its tokens stay as they are."""
    services = table(Fake("z", "z", "z"), A)
    assert list(services) == ["z", "a-b"]
    assert services["a-b"].section == "a_b"
    assert "b" not in services
    assert len(services) == 2
    assert services.tokens_of("a-b").normalise("t") == "T"
    assert services.tokens_of("b").normalise("t") == "t"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Fake("a-b", "y", "b"), "name, a-b"),
        (Fake("a_b", "y", "b"), "section, a_b"),
        (Fake("b", "x", "b"), "id letter, x"),
        (Fake("b", "y", "a"), "field of notification, a"),
        (Fake("b", "y", "b", "as"), "field of recipient, as"),
    ],
)
def test_what_two_services_cannot_share(other: PushService, what: str) -> None:
    """A doubled name, or a field that would be read twice, ends the start."""
    with pytest.raises(ValueError, match=f"have the same {what}"):
        list(table(A, other))


def test_after_the_first_read_nothing_is_declared() -> None:
    """Sections of the configuration are made of what was there then."""
    services = table(A)
    assert "a-b" in services
    with pytest.raises(RuntimeError, match="read already"):
        services.declared_by(list)


def test_a_declaration_cannot_read_the_table() -> None:
    """It would see half of it."""
    services = PushServices()

    def declare() -> Iterator[PushService]:
        yield A
        list(services)

    services.declared_by(declare)
    with pytest.raises(RuntimeError, match="while they are declared"):
        list(services)
