from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from structlog.testing import capture_logs
from tests.support.analytics import row
from tests.support.jobs import make_send_job

from tocsin.analytics.writer import AnalyticsWriter, BufferLimits
from tocsin.core.analytics import NotificationRow, RowsRefused
from tocsin.core.errors import InternalError
from tocsin.core.outcome import DELIVERED
from tocsin.core.push import (
    Payload,
    Recipients,
    Send,
    SendJob,
    TargetKind,
)
from tocsin.telemetry.metrics import Metrics

LONG_S = 3600.0
PAYLOAD = Payload("p", "uid-1", "", {})


@dataclass
class Store:
    """A `RowStore`; fails with `faults` first, waits while `gate` is shut."""

    faults: list[Exception] = field(default_factory=list)
    batches: list[Sequence[NotificationRow]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def append(self, rows: Sequence[NotificationRow], *, batch_id: str) -> None:
        self.ids.append(batch_id)
        await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(rows)

    @property
    def devices(self) -> list[str]:
        return [row.device_id for batch in self.batches for row in batch]


@asynccontextmanager
async def writing(
    store: Store,
    *,
    max_rows: int = 1000,
    flush_rows: int = 100,
    flush_interval_s: float = LONG_S,
) -> AsyncIterator[tuple[AnalyticsWriter, Metrics]]:
    metrics = Metrics()
    limits = BufferLimits(max_rows, flush_rows, flush_interval_s)
    writer = AnalyticsWriter(store, limits, metrics, retry_pause_s=0.01)
    writer.start()
    try:
        yield writer, metrics
    finally:
        store.gate.set()
        await writer.close(1)


def batch(first: int, count: int) -> tuple[SendJob, list[tuple[int, object, int]]]:
    numbers = range(first, first + count)
    work = Send(
        TargetKind.TOKEN,
        Recipients(tuple(f"t{n}" for n in numbers), tuple(f"d{n}" for n in numbers)),
    )
    job = make_send_job(work=work)
    return job, [(index, DELIVERED, 1) for index in range(count)]


def record(writer: AnalyticsWriter, first: int, count: int) -> None:
    job, results = batch(first, count)
    writer.record(job, PAYLOAD, results)  # type: ignore[arg-type]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - any condition, so nothing to wait on
            await asyncio.sleep(0.001)


def drops(metrics: Metrics) -> float:
    return metrics.analytics_drops.get("notifications")


async def test_a_full_batch_is_written_at_once() -> None:
    """Nobody waits for the interval once flush_size rows are there."""
    store = Store()
    async with writing(store, flush_rows=10) as (writer, _):
        record(writer, 0, 4)
        record(writer, 4, 6)
        await until(lambda: store.batches)
        assert store.devices == [f"d{n}" for n in range(10)]
        assert writer.size == 0


async def test_few_rows_are_written_after_the_interval() -> None:
    """A quiet service is up to date too."""
    store = Store()
    async with writing(store, flush_interval_s=0.02) as (writer, _):
        assert writer.add(row(device_id="d0"))
        await until(lambda: store.devices == ["d0"])


async def test_no_batch_is_larger_than_flush_size() -> None:
    """What came at once is written in several batches, in order."""
    store = Store()
    async with writing(store, max_rows=10_000, flush_rows=700) as (writer, _):
        record(writer, 0, 2500)
        await until(lambda: len(store.batches) == 3)
        assert [len(rows) for rows in store.batches] == [700, 700, 700]
        await writer.close(1)
        assert store.devices == [f"d{n}" for n in range(2500)]


async def test_failed_batch_is_tried_once_more() -> None:
    """The retry carries the same id, and the metric says that there was one."""
    store = Store(faults=[InternalError("away")])
    async with writing(store, flush_rows=2) as (writer, metrics):
        record(writer, 0, 2)
        await until(lambda: store.batches)
        text = metrics.render().decode()
    assert store.ids[0] == store.ids[1]
    assert 'seconds_count{type="notifications",retries="1",result="ok"} 1' in text
    assert 'batch_size_sum{type="notifications"} 2' in text


async def test_batch_that_failed_twice_is_kept_and_written_first() -> None:
    """Rows stay in order and are not lost while there is room."""
    store = Store(faults=[InternalError("away"), InternalError("away")])
    with capture_logs() as lines:
        async with writing(store, flush_rows=2, flush_interval_s=0.05) as (
            writer,
            metrics,
        ):
            record(writer, 0, 2)
            await until(lambda: len(store.ids) == 2)
            record(writer, 2, 1)
            await until(lambda: len(store.devices) == 3)
            text = metrics.render().decode()
    assert store.devices == ["d0", "d1", "d2"]
    assert len(set(store.ids[:3])) == 1
    assert 'retries="1",result="error"} 1' in text
    assert [line["event"] for line in lines] == [
        "analytics rows not written; they are kept and tried again"
    ]


async def test_full_buffer_drops_and_counts_what_comes() -> None:
    """A dead store costs rows, never memory or sending; it is said once."""
    store = Store()
    store.gate.clear()
    with capture_logs() as lines:
        async with writing(store, max_rows=10, flush_rows=5) as (writer, metrics):
            record(writer, 0, 8)
            record(writer, 8, 8)
            assert not writer.add(row())
            assert (writer.size, drops(metrics)) == (10, 7)
            store.gate.set()
            await until(lambda: writer.size == 0)
            assert writer.add(row())
    assert store.devices[:10] == [f"d{n}" for n in range(10)]
    assert [line["event"].partition(":")[0] for line in lines] == [
        "analytics rows are dropped",
        "analytics rows are stored again; some were dropped before",
    ]


async def test_rows_that_are_refused_do_not_block_the_others() -> None:
    """What can never be stored is dropped at once, and counted."""
    store = Store(faults=[RowsRefused("unreadable")])
    async with writing(store, flush_rows=2) as (writer, metrics):
        record(writer, 0, 2)
        record(writer, 2, 2)
        await until(lambda: store.devices == ["d2", "d3"])
        assert drops(metrics) == 2
        assert 'retries="0",result="refused"} 1' in metrics.render().decode()


async def test_close_writes_what_is_left() -> None:
    """A drain loses nothing while the store answers, after one retry too."""
    store = Store(faults=[InternalError("away")])
    async with writing(store, flush_rows=2) as (writer, metrics):
        record(writer, 0, 2)
        await until(lambda: store.ids)
        record(writer, 2, 3)
        await writer.close(5)
        assert store.devices == ["d0", "d1", "d2", "d3", "d4"]
        assert drops(metrics) == 0


async def test_close_ends_within_its_deadline() -> None:
    """A store that hangs costs its rows, which are counted and said."""
    store = Store()
    store.gate.clear()
    with capture_logs() as lines:
        async with writing(store, flush_rows=2) as (writer, metrics):
            record(writer, 0, 5)
            await until(lambda: store.ids)
            async with asyncio.timeout(2):
                await writer.close(0.05)
            assert (drops(metrics), writer.size) == (5, 0)
    assert [line["rows"] for line in lines if "lost at the end" in line["event"]] == [5]


async def test_recording_never_waits_for_the_store() -> None:
    """With a store that hangs, a hundred thousand results are taken in at once."""
    store = Store()
    store.gate.clear()
    async with writing(store, max_rows=1_000_000) as (writer, _):
        job, results = batch(0, 100)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(1000):
            writer.record(job, PAYLOAD, results)  # type: ignore[arg-type]
        assert loop.time() - started < 1
        assert writer.size == 100_000
        await writer.close(0.01)
