"""The contract of `AuditStore`, held by every implementation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.registries import RegistryPlace

from tocsin.core.errors import BadRequest
from tocsin.core.ports.audit import AuditEntry, AuditFilter, AuditStore

CALL = AuditEntry("", 1000, "ops", "::1", "grpc", "purge", '{"ids": ["1\'; ü"]}')


@pytest.fixture
def store(registry: RegistryPlace) -> AuditStore:
    return registry.audit()


async def add(store: AuditStore, **changes: object) -> str:
    return await store.begin(replace(CALL, **changes))  # type: ignore[arg-type]


async def test_a_call_is_kept_as_it_began(store: AuditStore) -> None:
    """Under an id of the store, without a result."""
    id = await store.begin(replace(CALL, id="given"))
    assert await store.fetch_page(AuditFilter(), limit=9) == [replace(CALL, id=id)]


async def test_a_call_ends_once(store: AuditStore) -> None:
    """The second end changes nothing, nor one of a call that there is not."""
    id = await add(store)
    await store.end(id, count=3, result="done")
    for other in (id, "999", "no id", ""):
        await store.end(other, count=9, result="broke off")
    assert await store.fetch_page(AuditFilter(), limit=9) == [
        replace(CALL, id=id, count=3, result="done")
    ]


async def test_pages_go_from_the_newest_to_the_oldest(store: AuditStore) -> None:
    """In the order in which calls began, whatever a clock said."""
    ids = [await add(store, at_ms=9000 - number) for number in range(5)]
    newest = await store.fetch_page(AuditFilter(), limit=2)
    assert [each.id for each in newest] == [ids[4], ids[3]]
    rest = await store.fetch_page(AuditFilter(), limit=9, before=ids[3])
    assert [each.id for each in rest] == [ids[2], ids[1], ids[0]]
    assert await store.fetch_page(AuditFilter(), limit=9, before=ids[0]) == []


@pytest.mark.parametrize("before", ["no id", "-1", "٣"])
async def test_a_cursor_that_is_no_id_is_refused(
    store: AuditStore, before: str
) -> None:
    """It is a fault of the call."""
    with pytest.raises(BadRequest, match="before: is not the id of an entry"):
        await store.fetch_page(AuditFilter(), limit=9, before=before)


async def test_calls_are_found_by_who_what_and_when(store: AuditStore) -> None:
    """Any of a list fits, all lists together; `until_ms` is outside."""
    await add(store, actor="a", method="m", at_ms=1)
    await add(store, actor="b", method="m", at_ms=2)
    await add(store, actor="b", method="n", at_ms=3)

    async def found(**chosen: object) -> list[int]:
        chooser = AuditFilter(**chosen)  # type: ignore[arg-type]
        return [each.at_ms for each in await store.fetch_page(chooser, limit=9)]

    assert await found(actors=("a", "c")) == [1]
    assert await found(actors=("b",), methods=("m",)) == [2]
    assert await found(methods=("m", "n"), since_ms=2) == [3, 2]
    assert await found(since_ms=2, until_ms=3) == [2]


async def test_old_calls_are_pruned(store: AuditStore) -> None:
    """Those before a moment, and it says how many."""
    for at_ms in (1, 2, 3):
        await add(store, at_ms=at_ms)
    assert await store.prune(3) == 2
    assert await store.prune(3) == 0
    left = await store.fetch_page(AuditFilter(), limit=9)
    assert [each.at_ms for each in left] == [3]
