from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support.clock import MovedClock
from tests.support.memory_registry import MemoryDevices

from tocsin.app.worker import remove_inactive
from tocsin.core.device import Registration
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
