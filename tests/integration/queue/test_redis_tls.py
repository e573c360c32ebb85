"""Redis behind TLS: the server of the tests has none, so a proxy puts it on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.certificates import make_ca
from tests.support.dead_addresses import resolving

from tocsin.core.errors import QueueUnavailable
from tocsin.queue.redis_connection import connect
from tocsin.queue.redis_stream import RedisStreamJobQueue


@pytest.fixture
async def tls_port(redis_address: str, tmp_path: Path) -> AsyncIterator[int]:
    """A TLS port that leads to the Redis; its authority is `tmp_path/ca.pem`."""
    certificate, key = make_ca(tmp_path).issue()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    host, _, port = redis_address.partition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, redis_writer), pump(redis_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_own_authority_is_trusted(tls_port: int, tmp_path: Path) -> None:
    """With its CA file the queue works through TLS."""
    authority = tmp_path / "ca.pem"
    client = connect(f"rediss://127.0.0.1:{tls_port}?tls_server_ca_pem={authority}")
    queue = RedisStreamJobQueue(client, consumer="w")
    await queue.check()
    assert await queue.waiting(["send:fcm"]) == {"send:fcm": 0}
    await client.aclose()


async def test_unknown_authority_is_refused(tls_port: int) -> None:
    """Without the CA file nothing is sent."""
    client = connect(f"rediss://127.0.0.1:{tls_port}")
    with pytest.raises(QueueUnavailable):
        await RedisStreamJobQueue(client, consumer="w").check()
    await client.aclose()


async def test_a_certificate_of_another_name_is_refused(
    tls_port: int, tmp_path: Path
) -> None:
    """It is held against the name in the address, not against what that leads to."""
    authority = f"tls_server_ca_pem={tmp_path / 'ca.pem'}"
    client = connect(f"rediss://redis.example:{tls_port}?{authority}")
    with resolving("redis.example", "127.0.0.1"), pytest.raises(QueueUnavailable):
        await RedisStreamJobQueue(client, consumer="w").check()
    await client.aclose()
    named = f"rediss://redis.example:{tls_port}?{authority}&tls_server_name=localhost"
    client = connect(named)
    with resolving("redis.example", "127.0.0.1"):
        await RedisStreamJobQueue(client, consumer="w").check()
    await client.aclose()
