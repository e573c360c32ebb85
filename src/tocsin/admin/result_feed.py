"""Follows the results for all who wait for new ones, with one query for all of them.

It decides nothing about who may read, or from where.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice

import structlog

from tocsin.core.errors import ApiError
from tocsin.core.ports.results import ResultPage, ResultStore
from tocsin.core.results import ResultEvent, ResultFilter

POLL_S = 0.1
"""Seconds between two looks while somebody waits; other processes write too."""
AFTER_FAULT_S = 1.0
RECENT = 5_000
"""The newest events, which readers that keep up get from memory."""

_log = structlog.get_logger(__name__)


class ResultFeed:
    """It asks the store only while somebody waits."""

    def __init__(self, store: ResultStore, *, poll_s: float = POLL_S) -> None:
        self._store = store
        self._poll_s = poll_s
        self._recent: deque[ResultEvent] = deque()
        # All events after `_start` up to `_position` are in `_recent`; both -1 until
        # the first look.
        self._start = self._position = -1
        self._waiting = 0
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    def wake(self) -> None:
        """Look at once: results were written by this process."""
        self._wake.set()

    def close(self) -> None:
        """Let everybody who waits go: the process is about to end."""
        self.closed = True
        self._news.set()
        if self._task is not None:
            self._task.cancel()

    async def wait(self, position: int, *, timeout_s: float) -> None:
        """Wait until there may be events after this position, or the time is over."""
        self._waiting += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._follow())
            async with asyncio.timeout(timeout_s):
                while not self.closed and self._position <= position:
                    await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    async def fetch(
        self, after: int, *, limit: int, chosen: ResultFilter
    ) -> ResultPage:
        """As `ResultStore.fetch`; of the newest events without a query."""
        if not 0 <= self._start <= after <= self._position:
            return await self._store.fetch(after, limit=limit, chosen=chosen)
        events: list[ResultEvent] = []
        for event in islice(self._recent, after - self._start, None):
            if chosen.fits(event):
                events.append(event)
                if len(events) == limit:
                    return ResultPage(events, event.position, self._position)
        return ResultPage(events, self._position, self._position)

    async def _follow(self) -> None:
        self._start = self._position = -1
        self._recent.clear()
        idle = 0.0
        # A little longer than somebody waits: readers come back after each page.
        while idle < AFTER_FAULT_S:
            self._wake.clear()
            pause_s = self._poll_s
            try:
                is_full = await self._look()
            except ApiError as error:
                _log.debug("results not read, trying again", error=error.message)
                is_full, pause_s = False, AFTER_FAULT_S
            if not is_full:
                try:
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            idle = 0.0 if self._waiting else idle + self._poll_s
        self._start = self._position = -1

    async def _look(self) -> bool:
        """Take over what is new; whether there may be more."""
        if self._position < 0:
            page = await self._store.fetch(0, limit=1)
            self._start = self._position = page.last
        else:
            page = await self._store.fetch(self._position, limit=RECENT)
            if page.position == self._position:
                return False
            self._recent.extend(page.events)
            self._position = page.position
            while len(self._recent) > RECENT:
                self._start = self._recent.popleft().position
        news, self._news = self._news, asyncio.Event()
        news.set()
        return len(page.events) == RECENT
