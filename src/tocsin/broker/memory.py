"""Pub/sub and history of one process; everything is lost with it.

Part of the broker room; it knows no namespace and no client. There is no await
between the checks of a publish and its fan-out, which makes every publish atomic.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import string
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from tocsin.core.channel import (
    ClientInfo,
    History,
    HistoryFilter,
    Publication,
    PublishOptions,
    PublishResult,
    StreamPosition,
)
from tocsin.core.errors import BadRequest, UnrecoverablePosition
from tocsin.core.ports.channels import BrokerListener

RESULT_TTL_S = 300.0
"""How long the result of an idempotency key is remembered."""
DEFAULT_META_TTL_S = 720 * 3600
SWEEP_INTERVAL_S = 1.0
EPOCH_LENGTH = 8

_NOWHERE = StreamPosition()


def make_epoch() -> str:
    """A name for one life of a stream; clients treat it as opaque."""
    return "".join(secrets.choice(string.ascii_letters) for _ in range(EPOCH_LENGTH))


class _Stream:
    """One channel's history and position. Deadlines are monotonic seconds."""

    __slots__ = (
        "epoch",
        "expires_at",
        "items",
        "meta_expires_at",
        "offset",
        "version",
        "version_epoch",
        "watched_until",
    )

    def __init__(self) -> None:
        self.epoch = make_epoch()
        self.offset = 0
        self.items: deque[Publication] = deque()
        self.version = 0
        self.version_epoch = ""
        self.expires_at = 0.0
        self.meta_expires_at = 0.0
        self.watched_until = float("inf")

    @property
    def top(self) -> StreamPosition:
        return StreamPosition(self.offset, self.epoch)


class MemoryBroker:
    """`Broker` in memory; see the port for what each method promises."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listener: BrokerListener | None = None
        self._subscribed: set[str] = set()
        self._streams: dict[str, _Stream] = {}
        self._results: dict[tuple[str, str], PublishResult] = {}
        # (deadline, serial, what): streams and results to look at again.
        self._deadlines: list[tuple[float, int, str | tuple[str, str]]] = []
        self._serial = 0
        self._sweeper: asyncio.Task[None] | None = None

    def listen(self, listener: BrokerListener) -> None:
        """See the port."""
        self._listener = listener

    async def start(self) -> None:
        """See the port."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def close(self) -> None:
        """See the port."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    async def check(self) -> None:
        """Memory is always there."""

    async def subscribe(self, channel: str) -> None:
        """See the port."""
        self._subscribed.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See the port."""
        self._subscribed.discard(channel)

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        """See the port."""
        key = options.idempotency_key
        if key and (known := self._results.get((channel, key))) is not None:
            return PublishResult(known.position, "idempotency")
        keeps = options.history_size > 0 and options.history_ttl_s > 0
        result = (
            self._append(channel, data, options)
            if keeps
            else self._pass_on(channel, data, options)
        )
        if key and not result.suppressed:
            self._results[channel, key] = result
            self._watch(self._clock() + RESULT_TTL_S, (channel, key))
        return result

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        if self._listener is not None and channel in self._subscribed:
            self._listener.on_join(channel, info)

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        if self._listener is not None and channel in self._subscribed:
            self._listener.on_leave(channel, info)

    async def fetch_history(
        self, channel: str, filter: HistoryFilter, *, meta_ttl_s: int
    ) -> History:
        """See the port."""
        stream = self._open(channel, meta_ttl_s)
        self._watch_stream(channel, stream)
        since = filter.since
        if since is not None:
            if since.epoch and since.epoch != stream.epoch:
                raise UnrecoverablePosition
            if filter.reverse and since.offset == 0:
                raise BadRequest("since.offset", "must be above 0 in reverse")
        if filter.limit == 0:
            return History((), stream.top)
        return History(tuple(_select(stream, filter)), stream.top)

    async def remove_history(self, channel: str) -> None:
        """See the port."""
        if (stream := self._streams.get(channel)) is not None:
            stream.items.clear()

    @property
    def watched(self) -> int:
        """How many deadlines wait for the sweep."""
        return len(self._deadlines)

    def _pass_on(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        if self._listener is not None and channel in self._subscribed:
            publication = Publication(
                data, 0, options.info, options.tags, options.version
            )
            self._listener.on_publication(channel, publication, _NOWHERE, None)
        return PublishResult()

    def _append(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        stream = self._open(channel, options.history_meta_ttl_s)
        if options.version > 0 and _is_stale(stream, options):
            return PublishResult(stream.top, "version")
        stream.version = options.version
        stream.version_epoch = options.version_epoch
        previous = stream.items[-1].data if options.delta and stream.items else None
        stream.offset += 1
        publication = Publication(
            data, stream.offset, options.info, options.tags, options.version
        )
        stream.items.append(publication)
        while len(stream.items) > options.history_size:
            stream.items.popleft()
        stream.expires_at = self._clock() + options.history_ttl_s
        if stream.expires_at < stream.watched_until:
            self._watch_stream(channel, stream)
        position = stream.top
        if self._listener is not None and channel in self._subscribed:
            self._listener.on_publication(channel, publication, position, previous)
        return PublishResult(position)

    def _open(self, channel: str, meta_ttl_s: int) -> _Stream:
        stream = self._streams.get(channel)
        if stream is None:
            stream = self._streams[channel] = _Stream()
        stream.meta_expires_at = self._clock() + (meta_ttl_s or DEFAULT_META_TTL_S)
        return stream

    def _watch_stream(self, channel: str, stream: _Stream) -> None:
        """Have the sweep look at a stream when its history or position may end.

        One entry per stream: each publish moves the end to later, which the sweep
        finds when it looks. Only an earlier end needs another entry.
        """
        deadline = stream.expires_at if stream.items else stream.meta_expires_at
        if deadline < stream.watched_until:
            stream.watched_until = deadline
            self._watch(deadline, channel)

    def _watch(self, deadline: float, what: str | tuple[str, str]) -> None:
        # It breaks ties: a channel and a tuple cannot be compared.
        self._serial += 1
        heapq.heappush(self._deadlines, (deadline, self._serial, what))

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self.sweep()

    def sweep(self) -> None:
        """Forget what has expired; runs once a second."""
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, what = heapq.heappop(self._deadlines)
            if isinstance(what, tuple):
                self._results.pop(what, None)
            else:
                self._expire(what, deadline, now)

    def _expire(self, channel: str, deadline: float, now: float) -> None:
        stream = self._streams.get(channel)
        # Another entry with an earlier deadline has replaced this one.
        if stream is None or deadline != stream.watched_until:
            return
        stream.watched_until = float("inf")
        if stream.items and stream.expires_at <= now:
            stream.items.clear()
        if not stream.items and stream.meta_expires_at <= now:
            del self._streams[channel]
        else:
            self._watch_stream(channel, stream)


def _is_stale(stream: _Stream, options: PublishOptions) -> bool:
    """Whether a version was seen that is not older than this one."""
    epoch = options.version_epoch
    same = not epoch or epoch == stream.version_epoch
    return stream.version > 0 and same and options.version <= stream.version


def _select(stream: _Stream, filter: HistoryFilter) -> list[Publication]:
    items, since = stream.items, filter.since
    if not items:
        return []
    first = items[0].offset
    limit = filter.limit if filter.limit > 0 else len(items)
    if filter.reverse:
        end = len(items) if since is None else since.offset - first
        if since is not None and not 0 <= end < len(items):
            # The element it starts from is gone, or never was.
            return []
        chosen = list(islice(items, max(0, end - limit), end))
        chosen.reverse()
        return chosen
    # An offset has 64 bits; beyond the newest there is nothing.
    start = 0 if since is None else max(0, since.offset + 1 - first)
    start = min(start, len(items))
    return list(islice(items, start, start + limit))
