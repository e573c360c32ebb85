"""A token or header that a push service wants: renewed when due, shared by all askers.

This file decides when the next value is made; its maker decides how. No value may
reach a log line or an outcome.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tocsin.core.elapsed import elapsed_s

RENEW_EARLY_S = 300.0
"""A fetched token is renewed in the background this long before it ends."""
HOLD_FAILURE_S = 2.0
"""Seconds for which a failure is the answer to everybody, without a new attempt."""
_LAST_MOMENT_S = 30.0
"""A value ends this long before the service's own time: a request that starts with it
must reach the service while it still counts."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A value and its times, in seconds on the clock of its `RenewedCredential`."""

    value: str = field(repr=False)
    renew_at_s: float
    """From then on the next one is fetched, while this one is still given out."""
    ends_at_s: float
    """From then on everybody waits for the next one."""
    since_s: float = -math.inf
    """A clock that stands before this was set back: then the value counts as ended."""
    held_from_s: float = math.inf
    held_until_s: float = math.inf
    """Between these two a refusal brings no new value: it would be refused as well."""

    @classmethod
    def lasting(cls, value: str, life_s: float, now_s: float) -> Issued:
        """A value that a service gave out for `life_s` seconds from now on."""
        return cls(
            value,
            now_s + life_s - min(RENEW_EARLY_S, life_s / 2),
            now_s + life_s - min(_LAST_MOMENT_S, life_s / 10),
        )


Settle = Callable[[Issued | BaseException], None]
Begin = Callable[[str, Settle], None]
"""Begins to make the next value. It is given the value that was refused (or ""), and
calls `settle` with the result: at once or later, in any thread."""


class RenewedCredential:
    """The newest value, and one attempt at a time to have the next.

    Belongs to no event loop: askers of several loops and threads share an attempt, and
    an asker who is cancelled does not cancel it for the others.
    """

    def __init__(
        self,
        begin: Begin,
        *,
        clock: Callable[[], float] = elapsed_s,
        hold_failure_s: float = HOLD_FAILURE_S,
    ) -> None:
        """The clock counts what elapses, unless the value itself names a moment."""
        self._begin = begin
        self._clock = clock
        self._hold_failure_s = hold_failure_s
        # Guards the fields below, which the thread of a maker changes too. It is held
        # for a few statements, never while a value is made.
        self._lock = threading.Lock()
        self._issued: Issued | None = None
        self._running: Future[str] | None = None
        self._failure: BaseException | None = None
        self._failed_until_s = -math.inf

    @property
    def current(self) -> str:
        """The newest value, maybe about to end; empty before the first one."""
        issued = self._issued
        return "" if issued is None else issued.value

    async def fetch(self) -> str:
        """A value that is good for some while; raises what its maker raised."""
        value = self._find_good()
        return await _wait_for(self._start("")) if value is None else value

    def fetch_blocking(self) -> str:
        """`fetch` for a thread that may block, or for a maker that never waits."""
        value = self._find_good()
        return self._start("").result() if value is None else value

    async def renew(self, refused: str) -> str:
        """A value other than `refused`, which the service did not take.

        The same value where `refused` is held (see `Issued`), or its maker has no
        other. Of many who call with one refused value, the first starts an attempt and
        all get its result.
        """
        self._drop(refused)
        value = self._find_good()
        return await _wait_for(self._start(refused)) if value is None else value

    def renew_blocking(self, refused: str) -> str:
        """`renew` for a thread that may block, or for a maker that never waits."""
        self._drop(refused)
        value = self._find_good()
        return self._start(refused).result() if value is None else value

    def may_renew(self, refused: str) -> bool:
        """Whether `renew` would give another value than this one."""
        issued = self._issued
        if issued is None or issued.value != refused:
            return True
        return not issued.held_from_s <= self._clock() < issued.held_until_s

    def take(self, issued: Issued) -> None:
        """Give this one out from now on."""
        with self._lock:
            self._issued = issued

    def _find_good(self) -> str | None:
        issued, now_s = self._issued, self._clock()
        if issued is None or not issued.since_s <= now_s < issued.ends_at_s:
            return None
        if now_s >= issued.renew_at_s:
            # Nobody waits for it: its failure harms nobody while this value is good.
            self._start("")
        return issued.value

    def _drop(self, refused: str) -> None:
        with self._lock:
            if self.current == refused and self.may_renew(refused):
                self._issued = None

    def _start(self, refused: str) -> Future[str]:
        """The attempt under way, or a new one.

        Where no attempt is due, a future that is done already: another thread has
        just made a value, or a failure is held.
        """
        with self._lock:
            if self._running is not None:
                return self._running
            running: Future[str] = Future()
            # A running future cannot be cancelled, so no cancelled asker ends it.
            running.set_running_or_notify_cancel()
            issued, now_s = self._issued, self._clock()
            if issued is not None and issued.since_s <= now_s < issued.renew_at_s:
                running.set_result(issued.value)  # another thread was faster
                return running
            if self._failure is not None and now_s < self._failed_until_s:
                # It is raised many times, and its traceback would grow each time.
                running.set_exception(self._failure.with_traceback(None))
                return running
            self._running = running
        # Outside the lock: a maker may settle at once, in this thread.
        try:
            self._begin(refused, lambda made: self._settle(running, made))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            # No thread could be started, say. Left under way, it would be waited for
            # by everybody, for ever.
            self._settle(running, error)
        return running

    def _settle(self, running: Future[str], made: Issued | BaseException) -> None:
        with self._lock:
            self._running = None
            if isinstance(made, Issued):
                self._issued, self._failure = made, None
            # A cancelled attempt is no failure to remember: the next asker
            # begins anew.
            elif isinstance(made, Exception):
                self._failure = made
                self._failed_until_s = self._clock() + self._hold_failure_s
        # After the fields are set: whoever wakes up may ask for `current` at once.
        if isinstance(made, Issued):
            running.set_result(made.value)
        else:
            running.set_exception(made)


def at_once(make: Callable[[str], Issued]) -> Begin:
    """For a maker that neither waits nor takes long."""
    return lambda refused, settle: settle(_try(make, refused))


def in_thread(make: Callable[[str], Issued], name: str) -> Begin:
    """For a maker that blocks."""

    def begin(refused: str, settle: Settle) -> None:
        threading.Thread(
            target=lambda: settle(_try(make, refused)), name=name, daemon=True
        ).start()

    return begin


class InTask:
    """For a maker that awaits: it runs in a task of the first asker's loop."""

    def __init__(self, make: Callable[[str], Coroutine[Any, Any, Issued]]) -> None:
        self._make = make
        self._task: asyncio.Task[Issued] | None = None

    def __call__(self, refused: str, settle: Settle) -> None:
        """See `Begin`."""
        self._task = task = asyncio.create_task(self._make(refused))
        task.add_done_callback(lambda done: settle(_result_of(done)))

    async def close(self) -> None:
        """End an attempt that is under way: those who wait for it are cancelled."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


def _try(make: Callable[[str], Issued], refused: str) -> Issued | BaseException:
    try:
        return make(refused)
    except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
        return error


def _result_of(done: asyncio.Task[Issued]) -> Issued | BaseException:
    if done.cancelled():
        return asyncio.CancelledError()
    return done.exception() or done.result()


async def _wait_for(running: Future[str]) -> str:
    return running.result() if running.done() else await asyncio.wrap_future(running)
