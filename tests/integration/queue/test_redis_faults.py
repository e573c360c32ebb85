"""What can happen to a Redis under the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs
from tests.support.job_queues import (
    EXPAND,
    RETRY,
    SEND,
    QueueBackend,
    drain,
    payload_for,
    receive_soon,
    send_job,
)
from tests.support.redis_server import RedisServer, start_redis

from tocsin.core.accounts import Part
from tocsin.core.clock import SystemClock
from tocsin.core.errors import QueueUnavailable
from tocsin.core.ports.queue import Delivery, JobQueue, QueuePosition
from tocsin.queue.redis_connection import GROUP, Keys, QueueScript
from tocsin.queue.redis_reader import StreamReader
from tocsin.queue.redis_stream import RedisStreamJobQueue
from tocsin.queue.rules import Timing

STREAM = "{tocsin}:stream:send:fcm"
KEYS = Keys("tocsin")


@pytest.fixture
def durable_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server with an append-only file, which may be stopped and started."""
    server = start_redis(tmp_path / "redis", appendonly=True)
    yield server
    server.stop()


async def _receive_when_back(queue: JobQueue) -> Delivery:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            found = await queue.receive([SEND, RETRY], limit=1, wait_s=0.5)
        except QueueUnavailable:
            await asyncio.sleep(0.05)
            continue
        if found:
            return found[0]
    raise AssertionError("nothing came after the restart")


async def test_restarted_server_has_all_and_is_used_again(
    durable_server: RedisServer,
) -> None:
    """Waiting, held and delayed entries, payload and progress outlive a restart."""
    backend = QueueBackend("redis", durable_server.address)
    queue = await backend.open(takeover_s=1)
    jobs = [send_job("p1") for _ in range(3)]
    await queue.enqueue(payload_for("p1"), jobs, once_ttl_s=60)
    settled, held = await queue.receive([SEND], limit=2, wait_s=1)
    retry = send_job("p1", attempt=1)
    await queue.settle(settled, follow=[(retry, SystemClock().now_ms() + 300)])
    await queue.record_progress({held.receipt: b"\x03"})
    reading = asyncio.create_task(queue.receive(["send:hms"], limit=1, wait_s=30))
    await asyncio.sleep(0.1)  # until it blocks; any earlier it fails as well
    durable_server.stop()
    with pytest.raises(QueueUnavailable):
        await reading
    with pytest.raises(QueueUnavailable):
        await queue.enqueue(payload_for("p2"), [send_job("p2")])
    with pytest.raises(QueueUnavailable):
        await queue.check()
    durable_server.start_again()
    found: dict[str, Delivery] = {}
    while len(found) < 3:
        delivery = await _receive_when_back(queue)
        found[delivery.job.id] = delivery
    assert set(found) == {jobs[1].id, jobs[2].id, retry.id}
    assert found[held.job.id].done == b"\x03"
    assert await queue.fetch_payload("p1") == payload_for("p1")
    assert not await queue.enqueue(payload_for("p1"), jobs, once_ttl_s=60)
    await backend.close()


async def test_lost_group_is_made_again_at_the_start(
    redis_backend: QueueBackend,
) -> None:
    """Without its group a stream is read from its first unfinished entry."""
    queue = await redis_backend.open()
    jobs = [send_job("p1") for _ in range(3)]
    await queue.enqueue(payload_for("p1"), jobs)
    await queue.settle(await receive_soon(queue))
    await receive_soon(queue)
    await redis_backend.redis().xgroup_destroy(STREAM, GROUP)
    assert await queue.waiting([SEND]) == {SEND: 2}
    assert [d.job.id for d in await drain(queue)] == [jobs[1].id, jobs[2].id]


async def test_group_lost_while_a_reader_blocks_is_made_again(
    redis_backend: QueueBackend,
) -> None:
    """A flushed server does not stop a waiting worker."""
    worker, api = await redis_backend.open("worker"), await redis_backend.open("api")
    reading = asyncio.create_task(worker.receive([EXPAND, SEND], limit=5, wait_s=30))
    await asyncio.sleep(0.05)  # until it blocks; any earlier it works as well
    await redis_backend.redis().flushall()
    await api.enqueue(payload_for("p1"), [send_job("p1")])
    async with asyncio.timeout(5):
        assert len(await reading) == 1


async def test_forgotten_scripts_are_loaded_again(redis_backend: QueueBackend) -> None:
    """After SCRIPT FLUSH everything goes on."""
    queue = await redis_backend.open()
    await redis_backend.redis().script_flush()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    await redis_backend.redis().script_flush()
    assert await queue.settle(await receive_soon(queue))


async def test_full_memory_refuses_new_work_and_lets_old_work_end(
    redis_backend: QueueBackend,
) -> None:
    """An enqueue over maxmemory leaves nothing behind; a settlement succeeds."""
    queue, client = await redis_backend.open(), redis_backend.redis()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(queue)
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable) as caught:
            await queue.enqueue(payload_for("p2"), [send_job("p2")], once_ttl_s=60)
        assert "maxmemory" in caught.value.reason
        assert await queue.settle(held, follow=[(send_job("p1"), 0)])
    finally:
        await client.config_set("maxmemory", 0)
    assert await queue.fetch_payload("p2") is None
    assert await queue.waiting([SEND]) == {SEND: 1}
    assert await queue.enqueue(payload_for("p2"), [send_job("p2")], once_ttl_s=60)


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
async def test_evicting_server_is_reported(
    redis_backend: QueueBackend, policy: str
) -> None:
    """A policy that may evict accepted work is an error in the log at start."""
    client = redis_backend.redis()
    await client.config_set("maxmemory", "1gb")
    await client.config_set("maxmemory-policy", policy)
    try:
        with capture_logs() as logs:
            await redis_backend.open()
    finally:
        await client.config_set("maxmemory", 0)
        await client.config_set("maxmemory-policy", "noeviction")
    about_eviction = [line for line in logs if "evict" in line["event"]]
    assert [line["log_level"] for line in about_eviction] == (
        [] if policy == "noeviction" else ["error"]
    )


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_wire_protocols_work(
    redis_backend: QueueBackend, protocol: int
) -> None:
    """RESP2 and RESP3 clients read blocked, fetched and taken-over entries."""
    url = f"redis://{redis_backend.address}"
    client: Redis = Redis.from_url(url, protocol=protocol)
    queue = RedisStreamJobQueue(client, consumer="w", takeover_s=0.3)
    api = await redis_backend.open("api")
    reading = asyncio.create_task(queue.receive([EXPAND, SEND], limit=5, wait_s=10))
    await asyncio.sleep(0.05)  # until it blocks; any earlier it reads as well
    job = send_job("p1")
    await api.enqueue(payload_for("p1"), [job, send_job("p1", provider="hms")])
    (blocked,) = await reading
    assert blocked.job == job
    assert (await receive_soon(queue, ["send:hms"])).count == 1
    assert (await receive_soon(queue)).count == 2
    assert await queue.fetch_payload("p1") == payload_for("p1")
    await client.aclose()


async def test_leaving_consumer_is_forgotten_only_with_empty_hands(
    redis_backend: QueueBackend,
) -> None:
    """Deleting a consumer that holds entries would lose them."""
    holder, idler = (
        await redis_backend.open("holder"),
        await redis_backend.open("idler"),
    )
    await holder.enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(holder)
    await idler.receive([SEND], limit=1, wait_s=0.01)
    assert await _consumers(redis_backend) == {"holder", "idler"}
    await idler.close()
    await holder.close()
    assert await _consumers(redis_backend) == {"holder"}
    assert await holder.settle(held)
    await holder.close()
    assert await _consumers(redis_backend) == set()


async def test_long_silent_consumers_are_forgotten(
    redis_backend: QueueBackend,
) -> None:
    """Of two dead ones the one that still holds an entry stays."""
    for name in ("holding", "empty"):
        queue = await redis_backend.open(name)
        await queue.enqueue(payload_for("p1"), [send_job("p1")])
        delivery = await receive_soon(queue)
        if name == "empty":
            await queue.settle(delivery)
    forget = QueueScript("forget_consumers")
    await forget(redis_backend.redis(), [STREAM], [GROUP, "", 600_000])
    assert await _consumers(redis_backend) == {"holding", "empty"}
    await forget(redis_backend.redis(), [STREAM], [GROUP, "", 0])
    assert await _consumers(redis_backend) == {"holding"}


async def test_progress_recorded_too_late_is_swept(
    redis_backend: QueueBackend,
) -> None:
    """What belongs to a settled entry goes, what belongs to a held one stays."""
    queue, client = await redis_backend.open(), redis_backend.redis()
    await queue.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    settled, held = await queue.receive([SEND], limit=2, wait_s=1)
    await queue.settle(settled)
    await queue.record_progress({settled.receipt: b"\x01", held.receipt: b"\x01"})
    reader = StreamReader(
        client, KEYS, consumer="w", timing=Timing(15), clock=SystemClock()
    )
    assert await reader.sweep_progress() == 1
    assert await client.hkeys(KEYS.progress) == [held.receipt.encode()]


async def test_nothing_is_left_of_finished_work(redis_backend: QueueBackend) -> None:
    """After the last settlement only empty streams and their groups remain.

    So it is once the account of the send was read.
    """
    queue, client = await redis_backend.open(), redis_backend.redis()
    await queue.enqueue(payload_for("p1"), [send_job("p1", unit="0")])
    delivery = await receive_soon(queue)
    await queue.record_progress({delivery.receipt: b"\x01"})
    follow = [(send_job("p1", unit="0"), 1)]
    await queue.settle(delivery, follow=follow)
    await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    changed = await queue.accounts.changed(limit=10)
    await queue.accounts.acknowledge(changed, forget=True)
    keys = {key async for key in client.scan_iter()}
    streams = {key for key in keys if b":stream:" in key}
    assert keys - streams == {KEYS.sequence.encode()}
    assert [await client.xlen(stream) for stream in streams] == [0] * len(streams)


async def test_entry_deleted_by_a_foreign_hand_is_reported(
    redis_backend: QueueBackend,
) -> None:
    """A trimmed entry blocks nobody, and the log says that it is lost."""
    queue = await redis_backend.open(takeover_s=0.2)
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    delivery = await receive_soon(queue)
    await redis_backend.redis().xtrim(STREAM, maxlen=0, approximate=False)
    with capture_logs() as logs:
        assert await queue.receive([SEND, RETRY], limit=1, wait_s=0.5) == []
    assert [line["entry"] for line in logs] == [delivery.receipt.split("|")[1]]
    assert await queue.waiting([SEND]) == {SEND: 0}


async def test_two_prefixes_share_a_server(redis_backend: QueueBackend) -> None:
    """Queues of two installations do not see each other."""
    client = redis_backend.redis()
    one, two = (
        RedisStreamJobQueue(client, consumer="w", prefix=prefix)
        for prefix in ("one", "two")
    )
    await one.enqueue(payload_for("p1"), [send_job("p1")])
    assert await two.receive([SEND], limit=1, wait_s=0) == []
    assert len(await drain(one)) == 1


async def test_foreign_error_becomes_the_queues_own(
    redis_backend: QueueBackend,
) -> None:
    """A key of a wrong type is a fault with a reason, not a foreign exception."""
    queue, client = await redis_backend.open(), redis_backend.redis()
    await client.set(STREAM, "not a stream")
    with pytest.raises(QueueUnavailable) as caught:
        await queue.receive([SEND], limit=1, wait_s=0)
    assert "WRONGTYPE" in caught.value.reason
    assert isinstance(caught.value.__cause__, ResponseError)


async def _consumers(backend: QueueBackend) -> set[str]:
    found = await backend.redis().xinfo_consumers(STREAM, GROUP)
    return {consumer["name"].decode() for consumer in found}


async def test_an_emptied_server_is_other_data(redis_backend: QueueBackend) -> None:
    """FLUSHALL: another name, and what this process had accepted is missing."""
    queue = await redis_backend.open()
    before = await queue.position()
    for number in range(3):
        push_id = f"p{number}"
        await queue.enqueue(payload_for(push_id), [send_job(push_id)], once_ttl_s=60)
    await redis_backend.redis().flushall()
    after = await queue.position()
    assert after.epoch != before.epoch
    assert after.missing == 3
    assert (await queue.position()).epoch == after.epoch
    assert await queue.enqueue(payload_for("p0"), [send_job("p0")], once_ttl_s=60)


async def test_a_restart_without_files_is_other_data(tmp_path: Path) -> None:
    """Every process sees it, also one that has accepted nothing itself."""
    server = start_redis(tmp_path / "redis")
    backend = QueueBackend("redis", server.address)
    queue, other = await backend.open(), await backend.open("other")
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    before = await other.position()
    server.kill()
    server.start_again()
    after = await _position_when_back(other)
    assert (after.epoch != before.epoch, after.reached) == (True, 0)
    assert (await _position_when_back(queue)).missing == 1
    await backend.close()
    server.stop()


async def test_a_log_without_its_end_went_back(durable_server: RedisServer) -> None:
    """Killed, its append-only file cut, and back: the same data, but not so far."""
    backend = QueueBackend("redis", durable_server.address)
    queue = await backend.open()
    await queue.position()
    for number in range(50):
        push_id = f"p{number}"
        await queue.enqueue(payload_for(push_id), [send_job(push_id)], once_ttl_s=600)
    before = await queue.position()
    await backend.redis().execute_command("WAITAOF", 1, 0, 5000)
    durable_server.kill()
    durable_server.cut_log(4000)
    durable_server.start_again()
    after = await _position_when_back(queue)
    assert after.epoch == before.epoch
    assert 0 < after.missing == before.reached - after.reached < 50
    repeated = [
        await queue.enqueue(
            payload_for(f"p{number}"), [send_job(f"p{number}")], once_ttl_s=600
        )
        for number in range(50)
    ]
    assert repeated == [False] * after.reached + [True] * after.missing
    assert (await queue.position()).missing == after.missing
    await backend.close()


async def test_a_loss_that_new_work_has_overtaken_is_noticed(
    redis_backend: QueueBackend,
) -> None:
    """The number alone is beyond what it was when somebody looks."""
    queue = await redis_backend.open()
    for number in range(5):
        await queue.enqueue(payload_for(f"p{number}"), [send_job(f"p{number}")])
    await redis_backend.redis().set("{tocsin}:sequence", 3)
    for number in range(9):
        await queue.enqueue(payload_for(f"q{number}"), [send_job(f"q{number}")])
    position = await queue.position()
    assert (position.reached, position.missing) == (12, 2)


@pytest.mark.parametrize("appendonly", [True, False])
async def test_a_server_without_a_log_is_reported(
    tmp_path: Path, *, appendonly: bool
) -> None:
    """At the start it is said what a restart of Redis would lose."""
    server = start_redis(tmp_path / "redis", appendonly=appendonly)
    backend = QueueBackend("redis", server.address)
    with capture_logs() as logs:
        await backend.open()
        count = len(logs)
        await RedisStreamJobQueue(backend.redis(), consumer="v").start(is_visit=True)
    assert len(logs) == count
    assert [line["log_level"] for line in logs] == ([] if appendonly else ["warning"])
    assert all("appendonly yes" in line["event"] for line in logs)
    await backend.close()
    server.stop()


async def _position_when_back(queue: JobQueue) -> QueuePosition:
    async with asyncio.timeout(15):
        while True:
            try:
                return await queue.position()
            except QueueUnavailable:
                await asyncio.sleep(0.05)
