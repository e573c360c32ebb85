"""Drives one batch through an HTTP/2 pool; an adapter gives requests, reads answers.

There is no task and no exception per recipient: requests are handed to the pool and
answers come back as calls. It must not know any push service.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Pace, Report
from tocsin.http2 import (
    Failure,
    FailureKind,
    Http2ConnectError,
    Http2Pool,
    RequestHead,
    Response,
)
from tocsin.providers.outcomes import is_success, report_all

_FAILURE_CODES = {
    FailureKind.CONNECT: "connect_failed",
    FailureKind.TIMEOUT: "timeout",
    FailureKind.RESET: "stream_reset",
    FailureKind.CLOSED: "connection_closed",
    FailureKind.REFUSED: "stream_refused",
    FailureKind.PROTOCOL: "protocol_error",
}
_STOPPED = Outcome(Verdict.RETRY, "unauthenticated", "stopped before the token renewed")


class Conversation(Protocol):
    """One batch as its adapter sees it: how to ask, how to read, how to renew."""

    def build(self, index: int) -> tuple[RequestHead, bytes] | Outcome:
        """The request to one target, or why there can be none."""
        ...

    def read(self, index: int, answer: Response, *, renewed: bool) -> Outcome | None:
        """What an answer means; `None` where a new credential may help.

        The body of a success may be cut anywhere; it is a success all the same.
        `renewed` says that the request already went out with a new credential: then
        there must be an outcome.
        """
        ...

    def read_failure(self, failure: Failure) -> Outcome:
        """What a request without an answer means."""
        ...

    async def renew(self) -> Outcome | None:
        """Get a new credential, or the outcome of all that need one."""
        ...


class Pump:
    """One batch on its way: what is still to start, in flight, or to start again."""

    __slots__ = (
        "_exchange",
        "_idle",
        "_in_flight",
        "_pace",
        "_pool",
        "_priority",
        "_refused",
        "_renewed",
        "_report",
        "_stopped",
        "_todo",
    )

    def __init__(
        self,
        pool: Http2Pool,
        exchange: Conversation,
        pending: Iterable[int],
        report: Report,
        pace: Pace,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        self._pool = pool
        self._priority = priority
        self._exchange = exchange
        self._todo = deque(pending)
        self._report = report
        self._pace = pace
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._refused: list[int] = []
        self._renewed = self._stopped = False

    async def finish(self) -> None:
        """Send everything that the pace lets through, then wait for all answers."""
        try:
            while True:
                await self._start_all()
                # With refused requests the credential is renewed at once: what is in
                # flight need not land before, and the rest is not held up.
                if not (self._refused and not self._stopped):
                    await self._land()
                if not self._refused:
                    return
                if self._stopped:
                    self._give_up(_STOPPED)
                else:
                    await self._renew()
        except BaseException:
            # Cancelled: answers may still come in, but the batch is over.
            self._report = _ignore
            raise

    async def _start_all(self) -> None:
        """Start requests until none is left, the pace stops, or one is refused."""
        pool, pace, todo, build = (
            self._pool,
            self._pace,
            self._todo,
            self._exchange.build,
        )
        renewed, priority = self._renewed, self._priority
        # Nobody takes room before those who wait for it and are more urgent.
        urgent = () if priority is Priority.TRANSACTIONAL else pool.urgent
        while todo:
            # Room comes before the pace: what the pace lets through starts
            # at once.
            if urgent or not pool.room():
                try:
                    await pool.wait_room(priority)
                except Http2ConnectError as error:
                    self._give_up(Outcome(Verdict.RETRY, "connect_failed", str(error)))
                    return
            if not pace.ready():
                if not await pace.wait():
                    self._stopped = True
                    todo.clear()
            # Checked after every wait: more requests with a refused
            # credential are useless.
            elif self._refused:
                return
            else:
                index = todo.popleft()
                request = build(index)
                if isinstance(request, Outcome):
                    self._report(index, request)
                    continue
                self._in_flight += 1
                done = partial(self._done, index, renewed)
                pool.submit(request[0], request[1], done)

    def _done(self, index: int, renewed: bool, result: Response | Failure) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if isinstance(result, Failure):
            begun = result.begun
            if begun is None or not is_success(begun.status):
                self._report(index, self._exchange.read_failure(result))
                return
            result = begun  # accepted; a body that broke off does not change that
        outcome = self._exchange.read(index, result, renewed=renewed)
        if outcome is None:
            self._refused.append(index)
        else:
            self._report(index, outcome)

    async def _land(self) -> None:
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def _renew(self) -> None:
        """Put the refused requests back in front, to go out with a new credential.

        Once only: what is refused later had been sent with the old credential.
        """
        if not self._renewed:
            failed = await self._exchange.renew()
            if failed is not None:
                self._give_up(failed)
                return
            self._renewed = True
        self._todo.extendleft(reversed(self._refused))
        self._refused.clear()

    def _give_up(self, outcome: Outcome) -> None:
        """Report all that is not in flight, so that nothing is left to start."""
        rest = [*self._refused, *self._todo]
        self._refused.clear()
        self._todo.clear()
        report_all(rest, outcome, self._report)


def failure_outcome(failure: Failure) -> Outcome:
    """The outcome of a request without an answer: it is tried again."""
    return Outcome(
        Verdict.RETRY,
        _FAILURE_CODES[failure.kind],
        failure.detail,
        maybe_sent=failure.maybe_sent,
    )


def _ignore(_index: int, _outcome: Outcome) -> None:
    """The report of a batch that was cancelled."""
