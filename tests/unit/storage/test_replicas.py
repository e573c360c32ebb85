from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.errors import BadRequest
from tocsin.storage import replicas
from tocsin.storage.errors import DatabaseUnavailable
from tocsin.storage.replicas import ReplicaReader


class Server:
    """A database that answers with its name, or not at all."""

    def __init__(self, name: str, *, error: Exception | None = None) -> None:
        self.name = name
        self.error = error
        self.reads = 0

    async def read(self, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return await work(self.name)  # type: ignore[arg-type] # stands for a connection


async def name_of(connection: AsyncConnection) -> str:
    return str(connection)


def reader(*names: Server) -> ReplicaReader:
    return ReplicaReader(names[0], names[1:])  # type: ignore[arg-type] # as above


async def test_without_replicas_the_primary_is_read() -> None:
    """Nothing changes where none is configured."""
    assert await reader(Server("primary")).read(name_of) == "primary"


async def test_replicas_take_turns() -> None:
    """The load is spread, and the primary is left alone."""
    primary = Server("primary")
    found = reader(primary, Server("one"), Server("two"))
    assert [await found.read(name_of) for _ in range(4)] == ["two", "one"] * 2
    assert primary.reads == 0


async def test_a_replica_that_is_away_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next server answers, the broken one is asked again only after a while."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    broken = Server("broken", error=DatabaseUnavailable("away"))
    found = reader(Server("primary"), broken, Server("good"))
    assert {await found.read(name_of) for _ in range(6)} == {"good"}
    assert broken.reads == 1
    now += replicas.REST_S
    broken.error = None
    assert {await found.read(name_of) for _ in range(2)} == {"good", "broken"}


async def test_without_any_replica_left_the_primary_answers() -> None:
    """A list must not fail because of a copy."""
    broken = Server("broken", error=DatabaseUnavailable("away"))
    assert await reader(Server("primary"), broken).read(name_of) == "primary"


async def test_a_wrong_request_is_not_repeated() -> None:
    """What is the caller's fault is the same on every server."""
    primary = Server("primary")
    wrong = Server("one", error=BadRequest("cursor", "is none"))
    with pytest.raises(BadRequest):
        await reader(primary, wrong).read(name_of)
    assert primary.reads == 0
