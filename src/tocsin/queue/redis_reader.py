"""Reads stream entries in fair shares: new, due delayed, and those of silent workers.

It also renews the holds of this consumer, so that other workers see it is alive.

Part of the queue room; it must not decode jobs nor decide what follows from one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tocsin.core.elapsed import elapsed_s
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery
from tocsin.queue.redis_connection import (
    GROUP,
    Keys,
    QueueScript,
    now_argument,
    parse_receipt,
    run,
)
from tocsin.queue.rules import ShareBehind, Timing

_MOVES_PER_READ = 64
"""Delayed jobs moved per queue and read: bounds how long a script runs."""
_SILENT_CONSUMER_MS = 600_000
"""A consumer that holds nothing and was silent that long is forgotten."""
_FEW_SLOTS_WAIT_S = 0.1
_SWEEP_BATCH = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A stream entry in this consumer's hands; `job` is what was stored.

    `asked_at` is the moment of this process before Redis was asked for it.
    """

    queue: str
    id: str
    push_id: str
    job: bytes | None
    asked_at: float
    count: int = 1
    done: bytes = b""


class StreamReader:
    """The reading half of the Redis queue, for one consumer."""

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        *,
        consumer: str,
        timing: Timing,
        clock: Clock | None,
    ) -> None:
        """A `clock`, for tests, stands for the clock of Redis."""
        self._client = client
        self._keys = keys
        self._consumer = consumer
        self._timing = timing
        self._clock = clock
        self._fetch_script = QueueScript("fetch")
        self._take_over_script = QueueScript("take_over")
        self._renew_script = QueueScript("keep_alive")
        self._excuse_script = QueueScript("excuse")
        self._forget_script = QueueScript("forget_consumers")
        self._sweep_script = QueueScript("sweep_progress")
        self._turn = 0
        self._share_behind = ShareBehind()
        self._next_look: dict[str, float] = {}
        self._next_housekeeping = time.monotonic() + timing.housekeeping_s

    async def read(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait_s: float,
        behind: Sequence[str] = (),
    ) -> list[Entry]:
        """Up to `limit` entries, waiting at most `wait_s` for the first.

        The port says what `behind` means.
        """
        deadline = time.monotonic() + wait_s
        while True:
            queues, behind = self._rotated(queues), self._rotated(behind)
            every = [*queues, *behind]
            await self._keep_house(every)
            # Before new entries: those of a silent worker have waited
            # longest.
            entries = await self._take_over(every, limit)
            due_in_ms = -1
            if len(entries) < limit:
                due_in_ms, fresh = await self._fetch(
                    every, limit - len(entries), in_front=len(queues)
                )
                entries += fresh
            left_s = deadline - time.monotonic()
            if entries or left_s <= 0:
                return entries
            # Not longer than a beat: the next look for silent workers is
            # due then.
            wait = min(left_s, self._timing.beat_s)
            # A blocked read does not see the delayed set: it ends when the
            # next job is due.
            if due_in_ms >= 0:
                wait = min(wait, max(0.001, due_in_ms / 1000))
            entries = await self._wait_for_new(every, limit, wait)
            if entries:
                return entries

    async def renew(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Renew the hold on these; returns the receipts that were lost."""
        if not deliveries:
            return []
        streams, args = self._places(deliveries)
        # Before Redis is asked: no delay of the answer may make the hold longer.
        held_until = elapsed_s() + self._timing.trusted_s
        lost = set(
            await self._renew_script(
                self._client, streams, [GROUP, self._consumer, *args]
            )
        )
        for position, delivery in enumerate(deliveries):
            if position not in lost:
                delivery.held_until = held_until
        return [deliveries[position].receipt for position in sorted(lost)]

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        """Take back the last hand-out of these, whoever holds them."""
        if deliveries:
            streams, args = self._places(deliveries)
            await self._excuse_script(self._client, streams, [GROUP, *args])

    async def forget(self, consumer: str, queues: Sequence[str]) -> None:
        """Forget a consumer that leaves, where it holds nothing."""
        streams = [self._keys.stream(queue) for queue in queues]
        await self._forget_script(self._client, streams, [GROUP, consumer, ""])

    def known_queues(self) -> list[str]:
        """The queues that were read so far."""
        return list(self._next_look)

    def _places(self, deliveries: Sequence[Delivery]) -> tuple[list[str], list[Any]]:
        """Their streams, and for each the number of its stream from 1 and its id."""
        numbers: dict[str, int] = {}
        args: list[Any] = []
        for delivery in deliveries:
            queue, id = parse_receipt(delivery.receipt)
            # From 1, as Lua counts.
            args += (numbers.setdefault(queue, len(numbers) + 1), id)
        return [self._keys.stream(queue) for queue in numbers], args

    def _rotated(self, queues: Sequence[str]) -> list[str]:
        # Whoever comes first gets the remainder of the division: take turns.
        self._turn += 1
        start = self._turn % max(1, len(queues))
        return [*queues[start:], *queues[:start]]

    async def _fetch(
        self, queues: Sequence[str], limit: int, *, in_front: int
    ) -> tuple[int, list[Entry]]:
        """New entries, and milliseconds until the next is due, or -1.

        The first `in_front` of the queues come before the others.
        """
        sure = self._share_behind.take(limit) if in_front < len(queues) else 0
        keys = [key for queue in queues for key in self._keys.all_of(queue)]
        now = now_argument(self._clock)
        args = [GROUP, self._consumer, now, limit, _MOVES_PER_READ, in_front, sure]
        asked_at = elapsed_s()
        due_in_ms, raw = await self._fetch_script(self._client, keys, args)
        return due_in_ms, [
            _entry(queues[number], id, _pairs(fields), asked_at)
            for number, id, fields in raw
        ]

    async def _take_over(self, queues: Sequence[str], limit: int) -> list[Entry]:
        now = time.monotonic()
        due = [queue for queue in queues if self._next_look.get(queue, 0.0) <= now]
        if not due:
            return []
        for queue in due:
            self._next_look[queue] = now + self._timing.beat_s
        keys = [self._keys.progress, *(self._keys.stream(queue) for queue in due)]
        args = [GROUP, self._consumer, self._timing.silent_ms, limit, *due]
        asked_at = elapsed_s()
        raw = await self._take_over_script(self._client, keys, args)
        if len(raw) >= limit:
            # There may be more: look again at once, not after a beat.
            self._next_look.update(dict.fromkeys(due, 0.0))
        entries = []
        for number, id, fields, count, done in raw:
            # The script has acknowledged it already: there is nothing to work on.
            if not fields:
                _log.error(
                    "queue entry was deleted by a foreign hand, its recipients are"
                    " lost: remove whatever trims or deletes from the stream",
                    stream=self._keys.stream(due[number]),
                    entry=id.decode(),
                )
                continue
            entries.append(
                _entry(due[number], id, _pairs(fields), asked_at, count, done or b"")
            )
        return entries

    async def _wait_for_new(
        self, queues: Sequence[str], limit: int, wait_s: float
    ) -> list[Entry]:
        if limit < len(queues):
            # Each waited-for stream may answer with one entry, so only as many
            # can be waited for as may be taken; the next turn waits for others.
            queues = queues[:limit]
            wait_s = min(wait_s, _FEW_SLOTS_WAIT_S)
        # COUNT is per stream.
        share = max(1, limit // len(queues))
        names = {self._keys.stream(queue): queue for queue in queues}
        command = (
            ["XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", share]
            # 0 would mean for ever.
            + ["BLOCK", max(1, int(wait_s * 1000)), "STREAMS", *names]
            + [">"] * len(names)
        )
        asked_at = elapsed_s()
        try:
            reply = await run(self._client, *command)
        except ResponseError as error:
            if str(error).startswith(("UNBLOCKED", "NOGROUP")):
                return []  # a stream was deleted; the next fetch makes it again
            raise
        streams = reply.items() if isinstance(reply, Mapping) else reply or ()
        return [
            _entry(names[stream.decode()], id, fields or {}, asked_at)
            for stream, raw in streams
            for id, fields in _entries_of(raw)
        ]

    async def _keep_house(self, queues: Sequence[str]) -> None:
        now = time.monotonic()
        if now < self._next_housekeeping:
            return
        self._next_housekeeping = now + self._timing.housekeeping_s
        streams = [self._keys.stream(queue) for queue in queues]
        await self._forget_script(
            self._client, streams, [GROUP, "", _SILENT_CONSUMER_MS]
        )
        await self.sweep_progress()

    async def sweep_progress(self) -> int:
        """Drop progress whose entry is gone; returns how many records."""
        dropped, cursor = 0, 0
        while True:
            reply: Any = await self._client.hscan(
                self._keys.progress, cursor, count=_SWEEP_BATCH
            )
            cursor, found = reply
            if found:
                dropped += await self._sweep([field.decode() for field in found])
            if not cursor:
                return dropped
            # Others on this loop have their turn between two batches.
            await asyncio.sleep(0)

    async def _sweep(self, receipts: Sequence[str]) -> int:
        numbers: dict[str, int] = {}
        args: list[Any] = [GROUP]
        for receipt in receipts:
            queue, id = parse_receipt(receipt)
            args += [numbers.setdefault(queue, len(numbers) + 1), id, receipt]
        streams = [self._keys.stream(queue) for queue in numbers]
        return int(
            await self._sweep_script(
                self._client, [self._keys.progress, *streams], args
            )
        )


def _entries_of(raw: Any) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
    # The client's shapes: a list of entries, or under RESP3 one list around it.
    if raw and isinstance(raw[0], list):
        return [entry for part in raw for entry in part]
    return raw or ()


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _entry(
    queue: str,
    id: bytes,
    fields: Mapping[bytes, bytes],
    asked_at: float,
    count: int = 1,
    done: bytes = b"",
) -> Entry:
    push_id = fields.get(b"push", b"").decode(errors="replace")
    job = fields.get(b"job")
    return Entry(queue, id.decode(), push_id, job, asked_at, count, done)
