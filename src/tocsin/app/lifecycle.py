"""Runs a process from its first task to its drain; knows no component.

SIGTERM and SIGINT ask it to stop; a second one ends it at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog

LEFTOVERS_S = 5.0
"""So long a task that nobody waited for may take to end with the process."""

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


def keep_what_started() -> None:
    """Leave all that the start has made out of every later garbage collection.

    It stays to the end; walking over it costs a busy server some percent.
    """
    gc.collect()
    gc.freeze()


def start_beside(
    work: Coroutine[Any, Any, None],
    stack: AsyncExitStack,
    *,
    on_death: Callable[[], None] | None = None,
) -> None:
    """Run `work` until the stack is left, which waits for its end.

    What it uses has to be opened before: it is closed only after that. If it dies
    the log says so, and `on_death` is called.
    """

    def watch(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            name = getattr(work, "__qualname__", str(work))
            _log.critical("a background task died", task=name, exc_info=error)
            if on_death is not None:
                on_death()

    task = asyncio.create_task(work)
    task.add_done_callback(watch)
    stack.push_async_callback(end_task, task)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has given back what it held."""
    task.cancel()
    await asyncio.wait([task])


def run(main: Callable[[Stopper], Awaitable[int]]) -> int:
    """Run `main` in an event loop of its own with the signals bound to it."""

    async def with_signals() -> int:
        stopper = Stopper()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopper.stop, signal.Signals(number).name)
        code = await main(stopper)
        code = 1 if stopper.failed else code
        await _end_leftovers(code)
        return code

    return _run_loop(with_signals())


async def _end_leftovers(code: int) -> None:
    """Everything is drained and closed; no task may keep the process from its end."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if not left:
        return
    for task in left:
        task.cancel()
    _, stuck = await asyncio.wait(left, timeout=LEFTOVERS_S)
    if stuck:
        names = sorted(str(task.get_coro()) for task in stuck)
        _log.warning("ended with tasks that do not end", tasks=names)
        sys.stdout.flush()
        os._exit(code)


def _run_loop(main: Coroutine[object, object, int]) -> int:
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)
