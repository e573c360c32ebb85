from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.clock import MovedClock
from tests.support.memory_registry import MemoryDevices

from tocsin.app import worker
from tocsin.app.worker import remove_inactive
from tocsin.core.device import DeadToken, Registration, RemovedFilter
from tocsin.core.removals import RemovalGuard, RemovalLimit
from tocsin.telemetry.metrics import Metrics


def resources(interval_s: float) -> Any:
    push = SimpleNamespace(max_inactive_device_interval=interval_s)
    return SimpleNamespace(
        config=SimpleNamespace(push_notifications=push),
        clock=MovedClock(),
        metrics=Metrics(),
    )


async def test_inactive_devices_are_removed_batch_by_batch() -> None:
    """Until none is left, all measured from the same moment, counted by provider."""
    around = resources(86_400)
    devices = MemoryDevices(clock=around.clock)
    devices.fill(1002)
    await devices.register(Registration("apns", "t", "ios"))
    around.clock.move_ms(86_400_001)
    (kept,) = devices.fill(1, "hms")
    await remove_inactive(around, devices)
    assert set(devices.edges) == {around.clock.now_ms() - 86_400_000}
    assert len(devices.edges) == 3
    removed = around.metrics.push_devices_removed
    assert removed.get("fcm", "inactive") == 1002
    assert removed.get("apns", "inactive") == 1
    assert list(devices.rows) == [kept]


async def test_without_an_interval_devices_are_kept_for_ever() -> None:
    """0 means that nobody is asked."""
    devices = MemoryDevices()
    await remove_inactive(resources(0), devices)
    assert devices.edges == []


async def test_what_waits_for_a_person_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By integration, and as nothing again once it was decided."""
    around = resources(0)
    around.devices = devices = MemoryDevices(clock=around.clock)
    ids = devices.fill(3, integration="shop")
    around.clock.move_ms(1)
    said = [
        DeadToken(id, f"token-{n}", around.clock.now_ms(), "fcm: unregistered")
        for n, id in enumerate(ids)
    ]
    guard = RemovalGuard("fcm", "shop", RemovalLimit(max_share=0.0, least=0))
    assert len((await devices.remove_dead(said, guard=guard)).held) == 3
    monkeypatch.setattr(worker, "COUNT_HELD_INTERVAL_S", 0)
    task = asyncio.create_task(worker.show_held_removals(around))
    await asyncio.sleep(0)
    gauge = around.metrics.push_removals_waiting
    assert gauge.get("fcm", "shop") == 3
    await devices.release_held(RemovedFilter(), limit=5)
    for _ in range(3):
        await asyncio.sleep(0)
    assert gauge.get("fcm", "shop") == 0
    task.cancel()
