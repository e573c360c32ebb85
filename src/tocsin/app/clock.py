"""The clock that processes share.

The clocks of several machines differ, so work on a queue that they share goes by the
clock of its server: what is due, what has expired, and what came before what.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import ApiError
from tocsin.core.ports.queue import QueueServer

STEP_INTERVAL_S = 10.0
"""Seconds between two looks at the clock of the queue's server."""
NOTABLE_MS = 5_000
"""A difference between two machines' clocks that a person should hear of."""
_LONGEST_ANSWER_S = 1.0
"""A slower answer tells the time too badly, once it is known."""

_log = structlog.get_logger(__name__)


class SharedClock:
    """Unix time of the queue's server; of this machine until the server was asked.

    Between two questions it adds the time that elapses here, so that no jump of this
    machine's clock moves it.
    """

    def __init__(self) -> None:
        self._ahead_ms: float | None = None
        self._told_ms = 0

    def now_ms(self) -> int:
        """Unix milliseconds."""
        if self._ahead_ms is None:
            return time.time_ns() // 1_000_000
        return int(elapsed_s() * 1000 + self._ahead_ms)

    async def learn(self, queue: QueueServer) -> None:
        """Ask once; raises `ApiError` while the queue is away."""
        asked_at = elapsed_s()
        theirs_ms = await queue.now_ms()
        answered_at = elapsed_s()
        if theirs_ms is None:  # this machine's clock is the one that counts
            return
        if self._ahead_ms is not None and answered_at - asked_at > _LONGEST_ANSWER_S:
            return
        # The server looked at its clock between question and answer: the middle of
        # both, in milliseconds.
        self._ahead_ms = theirs_ms - (asked_at + answered_at) * 500
        self._compare()

    async def follow(self, queue: QueueServer) -> None:
        """Ask again and again, so that a clock that was set over there is noticed."""
        while True:
            await asyncio.sleep(STEP_INTERVAL_S)
            try:
                await self.learn(queue)
            except ApiError:
                continue  # whoever works with the queue reports that

    def _compare(self) -> None:
        off_ms = time.time_ns() // 1_000_000 - self.now_ms()
        if abs(off_ms - self._told_ms) < NOTABLE_MS:
            return
        self._told_ms = off_ms
        _log.warning(
            "this machine's clock is not that of the queue's server; what is due goes"
            " by the server's, but push services refuse tokens that are signed with a"
            " wrong time: let both follow a time server",
            ahead_s=round(off_ms / 1000, 1),
        )
