"""A server behind a socket file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.brokers import Heard, running_broker, until
from tests.support.job_queues import QueueBackend, payload_for, receive_soon, send_job
from tests.support.redis_server import start_redis

from tocsin.core.channel import PublishOptions


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of such a server, with a password."""
    # The path of a socket may have a hundred bytes, and that of a test has more.
    with tempfile.TemporaryDirectory(prefix="r-") as folder:
        path = Path(folder) / "a b.sock"
        options = ("--unixsocket", str(path))
        server = start_redis(tmp_path, options=options)
        yield f"unix://{str(path).replace(' ', '%20')}?db=2"
        server.stop()


async def test_channels_and_the_queue_work_through_it(address: str) -> None:
    """Each in the database that the address names."""
    heard = Heard()
    backend = QueueBackend("redis", address)
    async with running_broker([address], heard) as broker:
        await broker.subscribe("c")
        keep = PublishOptions(history_size=1, history_ttl_s=60)
        await broker.publish("c", b"1", keep)
        await until(lambda: heard.data() == [b"1"])
        queue = await backend.open()
        await queue.enqueue(payload_for("p1"), [send_job("p1")])
        assert (await receive_soon(queue)).job.push_id == "p1"
    info = await backend.redis().info("keyspace")
    assert list(info) == ["db2"]
    await backend.close()
