"""What can happen to a database under the queue."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.clock import MovedClock, shift_wall_clock
from tests.support.job_queues import (
    SEND,
    QueueBackend,
    drain,
    payload_for,
    receive_soon,
    send_job,
)

from tocsin.core.errors import QueueFull, QueueUnavailable
from tocsin.queue.migrations import queue_schema
from tocsin.queue.sql import SqlJobQueue


async def test_concurrent_starts_make_the_tables_once(
    sql_backend: QueueBackend,
) -> None:
    """Several processes that start on an empty database all come up."""
    queues = await asyncio.gather(
        *(sql_backend.open(f"worker-{number}") for number in range(5))
    )
    await queues[0].enqueue(payload_for("p1"), [send_job("p1")])
    assert len(await drain(queues[4])) == 1
    async with sql_backend.sql().connect() as connection:
        found = await connection.execute(
            text("SELECT version_num FROM tocsin_queue_schema")
        )
        assert found.scalars().all() == [queue_schema("").head]


async def test_a_new_file_that_another_prepares_is_waited_for(tmp_path: Path) -> None:
    """The switch to WAL is refused meanwhile, at once, and tried again."""
    path = tmp_path / "queue.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE one (id INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO one VALUES (1)")
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", connect_args={"timeout": 0}
    )
    queue = SqlJobQueue(engine, owner="w")
    starting = asyncio.create_task(queue.start())
    _, still = await asyncio.wait([starting], timeout=0.2)
    assert still, "it ended although the file is locked"
    other.execute("COMMIT")
    await starting
    assert await queue.waiting([SEND]) == {SEND: 0}
    other.execute("SELECT * FROM one").fetchall()  # looks at the file anew
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    await engine.dispose()


async def test_prefixes_share_a_database(sql_backend: QueueBackend) -> None:
    """Queues of two prefixes have tables of their own."""
    queues = [
        SqlJobQueue(sql_backend.sql(), owner="w", prefix=prefix)
        for prefix in ("one_", "two_")
    ]
    for queue in queues:
        await queue.start()
    await queues[0].enqueue(payload_for("p1"), [send_job("p1")])
    assert await queues[1].waiting([SEND]) == {SEND: 0}
    assert len(await drain(queues[0])) == 1
    with pytest.raises(ValueError, match="prefix"):
        SqlJobQueue(sql_backend.sql(), owner="w", prefix='x"; DROP')


async def test_job_in_hand_locks_no_row(sql_backend: QueueBackend) -> None:
    """While a batch is sent no transaction is open: another may write its row."""
    queue = await sql_backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    await receive_soon(queue)
    async with asyncio.timeout(3), sql_backend.sql().begin() as connection:
        changed = await connection.execute(
            text("UPDATE queue_jobs SET deliveries = deliveries")
        )
        assert changed.rowcount == 1


async def test_a_renewal_waits_for_no_settlement(
    postgres_backend: QueueBackend,
) -> None:
    """Rows that are being settled are passed by; the others are renewed meanwhile."""
    queue = await postgres_backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(3)])
    held = await drain(queue)
    before = [each.held_until for each in held]
    async with postgres_backend.sql().begin() as settling:
        await settling.execute(
            text("DELETE FROM queue_jobs WHERE id = :id"), {"id": int(held[0].receipt)}
        )
        async with asyncio.timeout(10):
            assert await queue.keep_alive(held) == []
        assert held[0].held_until == before[0]
        assert held[1].held_until > before[1]
        assert held[2].held_until > before[2]
        await settling.rollback()
    assert await queue.keep_alive(held) == []
    assert held[0].held_until > before[0]


async def test_a_renewal_waits_for_no_free_connection(
    postgres_backend: QueueBackend,
) -> None:
    """It has one of its own, while all others are in use for other work."""
    engine = create_async_engine(
        postgres_backend.address, pool_size=1, max_overflow=0, pool_timeout=60
    )
    queue = SqlJobQueue(engine, owner="w", leases=postgres_backend.sql())
    await queue.start()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    held = await drain(queue)
    until = held[0].held_until
    async with engine.connect(), asyncio.timeout(10):
        assert await queue.keep_alive(held) == []
    assert held[0].held_until > until
    await engine.dispose()


@pytest.mark.parametrize("how", ["settled", "taken", "taken and locked"])
async def test_a_renewal_that_finds_a_loss_waits_for_nobody(
    postgres_backend: QueueBackend, how: str
) -> None:
    """Nor for a free connection, nor for the one who has the job now."""
    engine = create_async_engine(
        postgres_backend.address, pool_size=1, max_overflow=0, pool_timeout=60
    )
    queue = SqlJobQueue(engine, owner="w", leases=postgres_backend.sql())
    await queue.start()
    await queue.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    lost, kept = await drain(queue)
    until = kept.held_until
    if how == "settled":
        assert await queue.settle(lost)
    change = text(
        "UPDATE queue_jobs SET lease_owner = 'rival', deliveries = 2 WHERE id = :id"
    )
    count = text("SELECT deliveries FROM queue_jobs WHERE id = :id")
    its_id = {"id": int(lost.receipt)}
    async with postgres_backend.sql().connect() as rival:
        await rival.execute(change, its_id)
        await rival.commit()
        async with rival.begin(), engine.connect(), asyncio.timeout(10):
            if how == "taken and locked":
                await rival.execute(change, its_id)
            assert await queue.keep_alive([lost, kept]) == [lost.receipt]
        if how == "taken":
            assert (await rival.execute(count, its_id)).scalar() == 1
    assert kept.held_until > until
    await engine.dispose()


async def test_a_renewal_passes_the_line_of_writers(tmp_path: Path) -> None:
    """On SQLite, which has one at a time: it waits for two of them, not for all."""
    backend = QueueBackend("sqlite", f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}")
    queue = await backend.open(limit=1000)
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(41)])
    held = await drain(queue)
    settled: list[int] = []

    async def settle(number: int) -> None:
        await queue.settle(held[number])
        settled.append(number)

    settling = [asyncio.create_task(settle(number)) for number in range(40)]
    await asyncio.sleep(0)
    assert await queue.keep_alive([held[40]]) == []
    assert len(settled) <= 3
    await asyncio.gather(*settling)
    await backend.close()


async def test_a_write_is_whole_on_a_connection_that_has_read(
    postgres_backend: QueueBackend,
) -> None:
    """Reading needs no transaction; what is refused half-way still leaves nothing."""
    engine = create_async_engine(postgres_backend.address, pool_size=1, max_overflow=0)
    queue = SqlJobQueue(engine, owner="w", max_pending=0)
    await queue.start()
    assert await queue.waiting([SEND]) == {SEND: 0}
    with pytest.raises(QueueFull):
        await queue.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
    assert await queue.enqueue(payload_for("p1"), [], once_ttl_s=60)
    await engine.dispose()


async def test_a_count_that_two_change_at_once_is_right(
    postgres_backend: QueueBackend,
) -> None:
    """Of a request's last jobs, settled at the same moment, one ends its payload."""
    queues = [await postgres_backend.open(f"w{number}") for number in range(4)]
    for turn in range(10):
        push_id = f"p{turn}"
        await queues[0].enqueue(
            payload_for(push_id), [send_job(push_id) for _ in range(4)]
        )
        held = await drain(queues[0])
        settled = await asyncio.gather(
            *(queue.settle(each) for queue, each in zip(queues, held, strict=True))
        )
        assert settled == [True] * 4
        assert await queues[0].fetch_payload(push_id) is None


async def test_lease_follows_the_given_clock(sql_backend: QueueBackend) -> None:
    """Not before four fifths of the take-over time have passed since the renewal."""
    clock = MovedClock()
    holder = await sql_backend.open("holder", clock=clock)
    other = await sql_backend.open("other", clock=clock)
    await holder.enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(holder)
    clock.move_ms(11_000)
    assert await holder.keep_alive([held]) == []
    clock.move_ms(11_900)
    assert await drain(other) == []
    clock.move_ms(200)
    assert [d.count for d in await drain(other)] == [2]


async def test_a_clock_that_was_set_forward_ends_no_lease(
    sql_backend: QueueBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holders renew by the new time; who does not is taken over as ever."""
    holder = await sql_backend.open("holder", takeover_s=1)
    other = await sql_backend.open("other", takeover_s=1)
    await holder.enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(holder)
    shift_wall_clock(monkeypatch, 7200)
    assert await drain(other) == []
    assert await holder.keep_alive([held]) == []
    assert await drain(other) == []
    assert (await receive_soon(other)).count == 2


async def test_loser_cannot_overwrite_progress(sql_backend: QueueBackend) -> None:
    """Who lost its lease records nothing more."""
    clock = MovedClock()
    loser = await sql_backend.open("loser", clock=clock)
    other = await sql_backend.open("other", clock=clock)
    await loser.enqueue(payload_for("p1"), [send_job("p1")])
    lost = await receive_soon(loser)
    clock.move_ms(15_000)
    taken = await receive_soon(other)
    await other.record_progress({taken.receipt: b"\x07"})
    await loser.record_progress({lost.receipt: b"\x01"})
    clock.move_ms(15_000)
    assert (await receive_soon(loser)).done == b"\x07"


async def test_expired_once_marks_are_cleaned_up(sql_backend: QueueBackend) -> None:
    """Housekeeping removes marks over their time and keeps the others."""
    clock = MovedClock()
    queue = await sql_backend.open(clock=clock, takeover_s=0.015)
    await queue.enqueue(payload_for("p1"), [], once_ttl_s=1)
    await queue.enqueue(payload_for("p2"), [], once_ttl_s=100)
    clock.move_ms(2_000)
    deadline = time.monotonic() + 5
    names: Sequence[str] = ["p1", "p2"]
    while len(names) > 1 and time.monotonic() < deadline:
        await queue.receive([SEND], limit=1, wait_s=0.1)
        async with sql_backend.sql().connect() as connection:
            found = await connection.execute(text("SELECT push_id FROM queue_once"))
            names = found.scalars().all()
    assert names == ["p2"]


async def test_nothing_is_left_of_finished_work(sql_backend: QueueBackend) -> None:
    """After the last settlement every table of the queue's work is empty."""
    queue = await sql_backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    await queue.settle(await receive_soon(queue), follow=[(send_job("p1"), 1)])
    await queue.settle(await receive_soon(queue))
    async with sql_backend.sql().connect() as connection:
        for table in ("jobs", "bodies", "payloads", "dead", "once"):
            rows = await connection.execute(text(f"SELECT count(*) FROM queue_{table}"))
            assert (table, rows.scalar()) == (table, 0)


async def test_cut_connections_are_made_again(
    postgres_backend: QueueBackend,
) -> None:
    """PostgreSQL that ends our sessions costs one error, not the queue."""
    queue = await postgres_backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    async with postgres_backend.sql().connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    with pytest.raises(QueueUnavailable):
        await queue.check()
    assert len(await drain(queue)) == 1


async def test_writer_that_holds_the_file_is_waited_for(
    sql_backend: QueueBackend,
) -> None:
    """Another process in a write transaction delays an enqueue, and loses nothing."""
    queue = await sql_backend.open()
    async with sql_backend.sql().connect() as connection:
        await connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if sql_backend.engine == "sqlite" else "SELECT 1"
        )
        await connection.execute(text("DELETE FROM queue_once"))
        accepting = asyncio.create_task(
            queue.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
        )
        await asyncio.sleep(0.1)  # so that it waits; any later it works as well
        await connection.rollback()
    assert await accepting
    assert len(await drain(queue)) == 1


async def test_a_database_put_back_went_back(sql_backend: QueueBackend) -> None:
    """An older backup: the same data, but not so far; new work hides nothing."""
    queue, other = await sql_backend.open("one"), await sql_backend.open("other")
    before = await queue.position()
    for number in range(6):
        await queue.enqueue(payload_for(f"p{number}"), [send_job(f"p{number}")])
    assert (await queue.position()).missing == 0
    put_back = {
        "postgresql": "SELECT setval('queue_jobs_id_seq', 4)",
        "sqlite": "UPDATE sqlite_sequence SET seq = 4 WHERE name = 'queue_jobs'",
    }
    async with sql_backend.sql().begin() as connection:
        await connection.execute(text("DELETE FROM queue_jobs WHERE id > 4"))
        await connection.execute(text("DELETE FROM queue_bodies WHERE job_id > 4"))
        await connection.execute(text(put_back[sql_backend.engine]))
    await other.enqueue(payload_for("q1"), [send_job("q1")])
    position = await queue.position()
    assert position.epoch == before.epoch
    assert (position.reached, position.missing) == (5, 1)
    assert (await other.position()).missing == 0


async def test_a_database_made_anew_is_other_data(sql_backend: QueueBackend) -> None:
    """Its tables are there, but this process had work in others."""
    queue = await sql_backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    before = await queue.position()
    async with sql_backend.sql().begin() as connection:
        await connection.execute(text("DELETE FROM queue_origin"))
    found = await asyncio.gather(*(queue.position() for _ in range(3)))
    assert len({position.epoch for position in found}) == 1
    assert found[0].epoch != before.epoch
