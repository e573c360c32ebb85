"""Analytics room: the buffer between the sending and a store, one for all stores.

Adding results never waits and never fails. Results that the store cannot take in time
are kept up to a limit, and dropped beyond it. Rows are made from results when they are
written, and hold a mark instead of a token. It must not know any store.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

import structlog

from tocsin.core.analytics import (
    NOTIFICATIONS,
    NotificationRow,
    PushStatus,
    RowsRefused,
)
from tocsin.core.errors import ApiError
from tocsin.core.outcome import Result, Verdict
from tocsin.core.ports.analytics import RowStore
from tocsin.core.push import Payload, SendJob, TargetKind
from tocsin.core.push_services import SERVICES
from tocsin.telemetry.metrics import Metrics

RETRY_PAUSE_S = 0.5
_SLICE = 500
"""Rows made before other tasks have a turn."""


ERROR_LENGTH = 300
"""How many characters of a provider's error text are kept."""

_MARK_LENGTH = 16
_SENT, _FAILED = PushStatus.SENT.value, PushStatus.FAILED.value
_DELIVERED = Verdict.DELIVERED

_log = structlog.get_logger(__name__)

Piece = tuple[SendJob, Payload, Sequence[Result]] | list[NotificationRow]
"""Results as they came, or rows. Results become rows only when they are written: that
costs more than sending may wait for."""


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """The most rows in memory, rows written at once, and seconds between writes."""

    max_rows: int
    flush_rows: int
    flush_interval_s: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows to be stored; the id stays the same over retries, so a store can tell."""

    id: str
    rows: list[NotificationRow]


class AnalyticsWriter:
    """Buffers rows and writes them in batches, one batch at a time.

    It is the worker's `ResultSink` and the API's `RowSink`. A batch that fails
    is tried once more, then kept and tried again after the interval.
    """

    def __init__(
        self,
        store: RowStore,
        limits: BufferLimits,
        metrics: Metrics,
        *,
        retry_pause_s: float = RETRY_PAUSE_S,
    ) -> None:
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._retry_pause_s = retry_pause_s
        self._pieces: deque[Piece] = deque()
        # The batch that is being written, or that failed and is next.
        self._failed: _Batch | None = None
        # Rows in pieces and in that batch; and those dropped since the last success.
        self._size = 0
        self._dropped = 0
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # A counter has to exist before its first rise, or a monitor misses that.
        metrics.analytics_drops.add(0, NOTIFICATIONS)

    @property
    def size(self) -> int:
        """Rows that are not stored yet."""
        return self._size

    def record(self, job: SendJob, payload: Payload, results: Sequence[Result]) -> None:
        """See `ResultSink.record`."""
        count = self._admit(len(results))
        if count:
            if count < len(results):
                results = results[:count]
            self._pieces.append((job, payload, results))

    def add(self, row: NotificationRow) -> bool:
        """See `RowSink.add`."""
        if not self._admit(1):
            return False
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, list):
            last.append(row)
        else:
            self._pieces.append([row])
        return True

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.create_task(self._write_for_ever())

    async def close(self, deadline_s: float) -> None:
        """Write what is left, within the deadline; the rest is lost and counted."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=deadline_s)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task])
        if self._size:
            self._count_dropped(self._size)
            _log.error(
                "analytics rows lost at the end: the store did not take them in time",
                rows=self._size,
            )
            self._pieces.clear()
            self._failed, self._size = None, 0

    def _admit(self, count: int) -> int:
        """How many of `count` rows there is room for; the rest count as dropped."""
        taken = min(count, self._limits.max_rows - self._size)
        if taken < count:
            self._note_overflow(count - taken)
        self._size += taken
        if self._size >= self._limits.flush_rows:
            self._wake.set()
        return taken

    def _note_overflow(self, count: int) -> None:
        if not self._dropped:
            _log.error(
                "analytics rows are dropped: the buffer is full because the store is"
                " away or too slow; sending goes on",
                buffered=self._size,
            )
        self._dropped += count
        self._count_dropped(count)

    def _count_dropped(self, count: int) -> None:
        self._metrics.analytics_drops.add(count, NOTIFICATIONS)

    async def _write_for_ever(self) -> None:
        interval_s = self._limits.flush_interval_s
        while not self._closing.is_set():
            await _wait(self._wake, interval_s)
            self._wake.clear()
            if not await self._write_ready() and not self._closing.is_set():
                # With a batch or more in the buffer each new row sets `_wake`: without
                # this wait a store that is away would be tried all the time.
                await _wait(self._closing, interval_s)
        await self._write_ready()

    async def _write_ready(self) -> bool:
        """Write until less than a batch is left; `False` if a batch failed."""
        while batch := self._failed or await self._take():
            self._failed = batch
            if not await self._write(batch):
                return False
            self._failed = None
            self._size -= len(batch.rows)
            if self._size < self._limits.flush_rows and not self._closing.is_set():
                break
        self._report_recovery()
        return True

    async def _take(self) -> _Batch | None:
        """The next rows, up to `flush_rows`, made in slices."""
        rows: list[NotificationRow] = []
        limit = self._limits.flush_rows
        pause_at = _SLICE
        while self._pieces and len(rows) < limit:
            piece = self._pieces.popleft()
            room = limit - len(rows)
            if isinstance(piece, list):
                rows += piece[:room]
                rest: Piece | None = piece[room:] or None
            else:
                job, payload, results = piece
                part = results[: min(room, _SLICE)]
                rows += rows_of(job, payload, part)
                left = results[len(part) :]
                rest = (job, payload, left) if left else None
            if rest is not None:
                self._pieces.appendleft(rest)
            if len(rows) >= pause_at:
                pause_at = len(rows) + _SLICE
                await asyncio.sleep(0)
        return _Batch(uuid.uuid4().hex, rows) if rows else None

    async def _write(self, batch: _Batch) -> bool:
        """Store a batch, in two tries; `False` if it has to be kept for later."""
        started = time.perf_counter()
        retries, result = 0, "ok"
        while True:
            try:
                await self._store.append(batch.rows, batch_id=batch.id)
            except RowsRefused as error:
                result = "refused"
                self._count_dropped(len(batch.rows))
                _log.error(
                    "analytics rows dropped: the store refused them",
                    rows=len(batch.rows),
                    reason=str(error),
                )
            except ApiError as error:
                result = "error"
                if retries == 0 and not self._closing.is_set():
                    retries = 1
                    await _wait(self._closing, self._retry_pause_s)
                    continue
                _log.warning(
                    "analytics rows not written; they are kept and tried again",
                    rows=len(batch.rows),
                    buffered=self._size,
                    error=error.message,
                )
            else:
                result = "ok"
            break
        seconds = time.perf_counter() - started
        self._metrics.observe_flush(seconds, NOTIFICATIONS, str(retries), result)
        if result == "ok":
            self._metrics.observe_flush_size(len(batch.rows), NOTIFICATIONS)
        return result != "error"

    def _report_recovery(self) -> None:
        if self._dropped:
            _log.warning(
                "analytics rows are stored again; some were dropped before",
                dropped=self._dropped,
            )
            self._dropped = 0


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def mark_of_token(token: str) -> str:
    """The mark of a token: enough to find its rows, useless for pushing.

    It is the first 16 hex digits of its SHA-256, so that whoever has the token can
    look for its rows: `printf %s TOKEN | sha256sum | cut -c1-16`.
    """
    return sha256(token.encode("utf-8", "replace")).hexdigest()[:_MARK_LENGTH]


def rows_of(
    job: SendJob, payload: Payload, results: Sequence[Result]
) -> list[NotificationRow]:
    """One row for each result, in order."""
    recipients = job.work.recipients
    uid = payload.analytics_uid or payload.uid
    provider, kind = job.provider, job.recipient_type.value
    # By column: tens of thousands of rows are made each second, see `Recipients`.
    targets, ids = recipients.targets, recipients.device_ids
    platforms, users = recipients.platforms, recipients.users
    is_token = job.work.kind is TargetKind.TOKEN
    stored = SERVICES.tokens_of(provider).stored
    rows = []
    for index, outcome, at_ms in results:
        target = targets[index]
        if is_token:
            target = mark_of_token(stored(target))
        sent = outcome.verdict is _DELIVERED
        rows.append(
            NotificationRow(
                uid,
                provider,
                kind,
                target,
                ids[index] if ids else "",
                platforms[index] if platforms else "",
                users[index] if users else "",
                outcome.message_id,
                _SENT if sent else _FAILED,
                "" if sent else outcome.detail[:ERROR_LENGTH],
                "" if sent else outcome.code or outcome.verdict.value,
                at_ms,
            )
        )
    return rows
