from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from tests.support.clock import MovedClock

from tocsin.app.worker import remove_inactive
from tocsin.telemetry.metrics import Metrics


class Devices:
    """A registry of devices that have not been heard of."""

    def __init__(self, *batches: Mapping[str, int]) -> None:
        self.batches = [*batches, {}]
        self.calls: list[dict[str, Any]] = []

    async def remove_inactive(self, **options: Any) -> Mapping[str, int]:
        self.calls.append(options)
        return self.batches[len(self.calls) - 1]


def resources(interval_s: float) -> Any:
    push = SimpleNamespace(max_inactive_device_interval=interval_s)
    return SimpleNamespace(
        config=SimpleNamespace(push_notifications=push),
        clock=MovedClock(),
        metrics=Metrics(),
    )


async def test_inactive_devices_are_removed_batch_by_batch() -> None:
    """Until none is left, all measured from the same moment, counted by provider."""
    devices, around = Devices({"fcm": 999, "apns": 1}, {"fcm": 3}), resources(86_400)
    await remove_inactive(around, devices)  # type: ignore[arg-type] # only one method is asked
    edges = {call["older_than_ms"] for call in devices.calls}
    assert edges == {around.clock.now_ms() - 86_400_000}
    assert len(devices.calls) == 3
    removed = around.metrics.push_devices_removed
    assert removed.get("fcm", "inactive") == 1002
    assert removed.get("apns", "inactive") == 1


async def test_without_an_interval_devices_are_kept_for_ever() -> None:
    """0 means that nobody is asked."""
    devices = Devices({"fcm": 1})
    await remove_inactive(resources(0), devices)  # type: ignore[arg-type] # as above
    assert devices.calls == []
