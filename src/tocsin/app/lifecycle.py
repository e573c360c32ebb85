"""Runs a process from its first task to its drain; knows no component.

SIGTERM and SIGINT ask it to stop; a second one ends it at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine

import structlog

_log = structlog.get_logger("tocsin.app")


class Stopper:
    """Tells everybody that the process shall end, and why."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.failed = False

    def stop(self, reason: str) -> None:
        """Ask for an orderly end; the second call ends the process at once."""
        if self._event.is_set():
            _log.warning(
                "stopped at once; what was in flight is taken over", reason=reason
            )
            os._exit(1)
        _log.info("stopping", reason=reason)
        self._event.set()

    def fail(self, reason: str) -> None:
        """Ask for an end with exit code 1: a part died that cannot be replaced."""
        self.failed = True
        if not self._event.is_set():
            _log.error("stopping after a fault", reason=reason)
            self._event.set()

    async def wait(self) -> None:
        """Wait until somebody asks for the end."""
        await self._event.wait()


def run(main: Callable[[Stopper], Awaitable[int]]) -> int:
    """Run `main` in an event loop of its own with the signals bound to it."""

    async def with_signals() -> int:
        stopper = Stopper()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopper.stop, signal.Signals(number).name)
        code = await main(stopper)
        return 1 if stopper.failed else code

    return _run_loop(with_signals())


def _run_loop(main: Coroutine[object, object, int]) -> int:
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)
