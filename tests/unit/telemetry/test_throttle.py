"""Lines that strangers can cause in any number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tocsin.telemetry.throttle import LineThrottle


class Timers:
    """Holds the timers of a loop back until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_later", self._call_later)

    def _call_later(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        self.waiting.append((delay_s, do, args))

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, do, args in waiting:
            do(*args)


async def test_the_first_is_told_at_once_and_the_rest_as_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flood is two lines a window at most; when it ends nothing is left."""
    throttle = LineThrottle(structlog.get_logger("x"), window_s=10)
    with capture_logs() as lines:
        timers = Timers(monkeypatch)
        for number in range(1000):
            throttle.warning("refused", kind="http", path=f"/{number}")
        assert [line["path"] for line in lines] == ["/0"]
        timers.fire()
        assert lines[1:] == [
            {
                "event": "refused",
                "log_level": "warning",
                "path": "/999",
                "times": 999,
                "within_s": 10,
            }
        ]
        throttle.warning("refused", kind="http", path="/more")
        timers.fire()
        assert lines[2]["times"] == 1
        timers.fire()
        assert timers.waiting == []
        throttle.warning("refused", kind="http", path="/again")
    assert [line.get("times") for line in lines] == [None, 999, 1, None]


async def test_kinds_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood at one door hides nothing of another."""
    throttle = LineThrottle(structlog.get_logger("x"))
    with capture_logs() as lines:
        Timers(monkeypatch)
        for _ in range(3):
            throttle.warning("refused", kind="http")
            throttle.warning("refused", kind="grpc")
            throttle.info("not HTTP")
    assert len(lines) == 3


async def test_a_traceback_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not kept with what is counted."""
    throttle = LineThrottle(structlog.get_logger("x"))
    with capture_logs() as lines:
        timers = Timers(monkeypatch)
        for _ in range(3):
            throttle.error("failed", exc_info=ValueError("x"))
        timers.fire()
    assert ["exc_info" in line for line in lines] == [True, False]


def test_a_window_ends_with_its_event_loop() -> None:
    """In the next one, and without any, nothing is swallowed."""
    throttle = LineThrottle(structlog.get_logger("x"))

    async def refuse() -> None:
        throttle.warning("refused")

    with capture_logs() as lines:
        asyncio.run(refuse())
        asyncio.run(refuse())
        throttle.warning("refused")
        throttle.warning("refused")
    assert len(lines) == 4
