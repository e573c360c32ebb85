"""Runs a process from its first task to its drain; knows no component.

SIGTERM, SIGINT and SIGQUIT ask it to stop; a second one ends it at once. SIGHUP asks
it to read its configuration anew, unless it came because the terminal is gone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog

from tocsin.app.signals import INBOX, STOPS

LEFTOVERS_S = 5.0
"""Seconds that a task which nobody waited for may take to end with the process."""

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class Stopper:
    """Tells everybody that the process shall end, and why; and when to reload."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._reload: Callable[[], None] | None = None
        self._reload_wanted = False
        self.failed = False

    @property
    def is_stopping(self) -> bool:
        """Whether somebody has asked for the end."""
        return self._event.is_set()

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

    def reload(self) -> None:
        """Reload what can be reloaded. A call before `reload_with` is done then."""
        if self._event.is_set():
            _log.info("nothing is read anew: the process is about to end")
        elif self._reload is None:
            self._reload_wanted = True
        else:
            self._reload()

    def reload_with(self, reload: Callable[[], None]) -> None:
        """From now on `reload` is what a reload does; it must not raise."""
        self._reload = reload
        if self._reload_wanted:
            self._reload_wanted = False
            self.reload()


async def unless_stopped(work: Coroutine[Any, Any, T], stopper: Stopper) -> T | None:
    """What `work` returns; `None` where the end was asked for before it was done.

    Then `work` was cancelled and has given back what it held.
    """
    if stopper.is_stopping:
        work.close()
        return None
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stopper.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        if not task.done():
            await end_task(task)
    if task.cancelled():
        return None
    # Its fault may come from the stop; either way the process ends now.
    if stopper.is_stopping and (error := task.exception()) is not None:
        _log.info("stopped before it was done", error=f"{type(error).__name__}")
        return None
    return task.result()


def keep_what_started() -> None:
    """Take everything that exists now out of later garbage collections.

    It stays until the end anyway; walking over it costs a busy server some percent.
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

    Open what it uses before this call: the stack closes in reverse order, and so ends
    the task first. If it dies, the log says so and `on_death` is called.
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


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has given back what it held."""
    task.cancel()
    await asyncio.wait([task])


def run(main: Callable[[Stopper], Awaitable[int]]) -> int:
    """Run `main` in an event loop of its own with the signals bound to it.

    Signals that came earlier are heard first, so that `main` begins nothing after a
    stop. They stay bound until the loop is closed.
    """
    had_terminal = _has_terminal()

    async def with_signals() -> int:
        stopper = Stopper()
        loop = asyncio.get_running_loop()

        def hear(number: int) -> None:
            name = signal.Signals(number).name
            if number in STOPS:
                stopper.stop(name)
            elif name != "SIGHUP":
                _log.info("signal ignored", signal=name)
            elif had_terminal and not _has_terminal():
                # Nobody would read the log, and every line of it would fail.
                stopper.stop("the terminal is gone")
            else:
                stopper.reload()

        def take(number: int) -> None:
            if loop.is_closed():
                return  # all is done; the exit code stands
            # A handler may run between any two steps of the loop: this also
            # wakes it up.
            loop.call_soon_threadsafe(hear, number)

        INBOX.open(take)
        await asyncio.sleep(0)  # let a stop that came before be heard
        code = await main(stopper)
        code = 1 if stopper.failed else code
        await _end_leftovers(code)
        return code

    was_installed = INBOX.is_installed
    INBOX.install()
    try:
        return _run_loop(with_signals())
    finally:
        INBOX.close()
        if not was_installed:
            INBOX.uninstall()


def _has_terminal() -> bool:
    """Whether somebody may be reading what this process writes."""
    return any(
        stream is not None and not stream.closed and stream.isatty()
        for stream in (sys.__stdout__, sys.__stderr__)
    )


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
        # The loop would wait for them for ever.
        os._exit(code)


def _run_loop(main: Coroutine[object, object, int]) -> int:
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)
