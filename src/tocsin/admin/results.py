"""What became of sends, for those who ask: a page, or a stream. Part of `admin`.

It writes nothing. A reader remembers its position; nothing is remembered of it here.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence

from tocsin.admin.result_feed import ResultFeed
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.ports.results import ResultPage, ResultStore
from tocsin.core.push_services import SERVICES
from tocsin.core.results import DETAILS, OUTCOMES, ResultFilter
from tocsin.push import checks

MAX_PAGE = 1000
DEFAULT_PAGE = 100
MAX_WAIT_S = 30.0
MAX_VALUES = 1000
"""Values in one list of a filter."""
STREAM_PAGE = 500
"""Events of one message: so many wait for a slow reader at most."""
SIGN_OF_LIFE_S = 15.0
MAX_STREAMS = 100
"""Streams of one server at once."""

_EVERYTHING = ResultFilter()


class ResultService:
    """Reads results; `store` is `None` where none are kept."""

    def __init__(self, store: ResultStore | None) -> None:
        self._store = store
        self.feed = None if store is None else ResultFeed(store)
        self._streams = 0

    def close(self) -> None:
        """End the streams and whoever waits."""
        if self.feed is not None:
            self.feed.close()

    async def page(
        self,
        chosen: ResultFilter,
        *,
        position: int = 0,
        from_now: bool = False,
        limit: int = 0,
        wait_s: float = 0.0,
    ) -> ResultPage:
        """Events after `position` that fit; `limit` 0 is 100, and 1,000 are the most.

        Where there are none it waits for them up to `wait_s`.
        """
        store, feed = self._check(chosen, position)
        if limit < 0:
            raise BadRequest("limit", "must not be negative")
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise BadRequest("wait_s", f"must be from 0 to {MAX_WAIT_S:g} seconds")
        wanted = min(limit or DEFAULT_PAGE, MAX_PAGE)
        until = time.monotonic() + wait_s
        if from_now:
            position = (await store.fetch(0, limit=1)).last
        page = await self._next(feed, chosen, position, wanted)
        while not page.events and not feed.closed:
            left_s = until - time.monotonic()
            if left_s <= 0:
                break
            await feed.wait(page.position, timeout_s=left_s)
            page = await self._next(feed, chosen, page.position, wanted)
        return page

    async def watch(
        self, chosen: ResultFilter, *, position: int = 0, from_now: bool = False
    ) -> AsyncIterator[ResultPage]:
        """All events after `position` that fit, and those that come; page by page.

        Raises `NotAvailable` where too many watch already.
        """
        store, feed = self._check(chosen, position)
        if self._streams >= MAX_STREAMS:
            raise NotAvailable(
                f"{MAX_STREAMS} streams of results are open here already"
            )
        self._streams += 1
        try:
            if from_now:
                position = (await store.fetch(0, limit=1)).last
            told_at = -math.inf
            while not feed.closed:
                page = await self._next(feed, chosen, position, STREAM_PAGE)
                position, now = page.position, time.monotonic()
                # The first one may be empty: it has the position.
                if page.events or now - told_at >= SIGN_OF_LIFE_S:
                    told_at = now
                    yield page
                if len(page.events) < STREAM_PAGE:
                    await feed.wait(position, timeout_s=SIGN_OF_LIFE_S)
        finally:
            self._streams -= 1

    async def _next(
        self, feed: ResultFeed, chosen: ResultFilter, position: int, limit: int
    ) -> ResultPage:
        page = await feed.fetch(position, limit=limit, chosen=chosen)
        if 0 < position < page.forgotten:
            raise BadRequest(
                "position",
                f"results up to {page.forgotten} are not kept any more; go on from"
                f" {page.forgotten}, or from 0 for all that are kept",
            )
        if position > page.last:
            raise BadRequest(
                "position",
                f"is after the newest result, {page.last}: it is of another database,"
                " or this one was restored from a backup; go on from 0",
            )
        return page

    def _check(
        self, chosen: ResultFilter, position: int
    ) -> tuple[ResultStore, ResultFeed]:
        if self._store is None or self.feed is None:
            raise NotAvailable("push_notifications.results.detail is off")
        if position < 0:
            raise BadRequest("position", "must not be negative")
        for name in ("uids", "outcomes", "providers", "details"):
            if len(getattr(chosen, name)) > MAX_VALUES:
                raise BadRequest(f"filter.{name}", f"must be at most {MAX_VALUES}")
        checks.check_texts("filter.uids", chosen.uids, checks.NAME_LENGTH)
        _check_words("filter.outcomes", chosen.outcomes, sorted(OUTCOMES))
        _check_words("filter.providers", chosen.providers, list(SERVICES))
        _check_words("filter.details", chosen.details, DETAILS)
        return self._store, self.feed


def _check_words(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    if not set(given) <= set(known):
        raise BadRequest(name, f"must be some of {', '.join(known)}")
