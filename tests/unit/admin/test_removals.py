"""What operators decide about removals that wait for them."""

from __future__ import annotations

import pytest
from tests.support.jobs import ManualClock
from tests.support.memory_registry import MemoryDevices

from tocsin.admin import removals
from tocsin.admin.actor import NOBODY
from tocsin.admin.audit import AuditTrail
from tocsin.admin.removals import RemovalService
from tocsin.core.device import DeadToken, RemovedFilter
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.removals import RemovalGuard, RemovalLimit

SHOP = RemovedFilter(integrations=("shop",))


def service_over(store: MemoryDevices | None) -> RemovalService:
    return RemovalService(store, audit=AuditTrail(None, clock=ManualClock()))


async def held(count: int) -> MemoryDevices:
    """A registry where so many devices wait for a person."""
    clock = ManualClock()
    store = MemoryDevices(clock=clock)
    ids = store.fill(count, integration="shop")
    clock.advance(1)
    said = [
        DeadToken(id, f"token-{n}", clock.now_ms(), "fcm: unregistered")
        for n, id in enumerate(ids)
    ]
    guard = RemovalGuard("fcm", "shop", RemovalLimit(max_share=0.0, least=0))
    assert len((await store.remove_dead(said, guard=guard)).held) == count
    return store


async def test_they_are_listed_and_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps, whatever their number."""
    monkeypatch.setattr(removals, "BATCH", 2)
    store = await held(5)
    service = service_over(store)
    [group] = await service.list(RemovedFilter())
    assert (group.integration, group.reason, group.count) == (
        "shop",
        "fcm: unregistered",
        5,
    )
    assert await service.approve(SHOP, actor=NOBODY) == 5
    assert await service.list(RemovedFilter()) == []
    assert store.rows == {}


async def test_they_are_restored() -> None:
    """Then the devices stay as they were."""
    store = await held(3)
    service = service_over(store)
    assert await service.restore(RemovedFilter(), actor=NOBODY, everything=True) == 3
    assert await service.restore(RemovedFilter(), actor=NOBODY, everything=True) == 0
    assert len(store.rows) == 3


async def test_everything_has_to_be_meant() -> None:
    """Nothing is decided by leaving something out."""
    service = service_over(await held(1))
    for decide in (service.approve, service.restore):
        with pytest.raises(BadRequest, match="filter: selects nothing"):
            await decide(RemovedFilter(), actor=NOBODY)
        with pytest.raises(BadRequest, match="filter: names some"):
            await decide(SHOP, actor=NOBODY, everything=True)
    assert len(await service.list(RemovedFilter())) == 1


async def test_what_no_device_can_have_is_refused() -> None:
    """The error names the field."""
    service = service_over(await held(1))
    with pytest.raises(BadRequest, match="providers: are some of"):
        await service.list(RemovedFilter(providers=("fmc",)))
    with pytest.raises(BadRequest, match="until_ms: must not be negative"):
        await service.approve(RemovedFilter(until_ms=-1), actor=NOBODY)


async def test_without_a_registry_nothing_is_held() -> None:
    """The error says why."""
    with pytest.raises(NotAvailable, match="no database"):
        await service_over(None).list(RemovedFilter())
