"""Fetching keys from a host whose first address drops packets."""

from __future__ import annotations

import asyncio

from tests.support.dead_addresses import dropping, resolving

from tocsin.transports.key_fetcher import HttpKeyFetcher

DEAD, ALIVE = "127.0.0.2", "127.0.0.1"


async def test_keys_are_fetched_from_the_second_address() -> None:
    """The first one does not take the whole time that a document may take."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, ALIVE, 0)
    port = server.sockets[0].getsockname()[1]
    fetcher = HttpKeyFetcher(timeout_s=10)
    try:
        with resolving("keys.example", DEAD, ALIVE), dropping(DEAD, port):
            assert await fetcher.fetch(f"http://keys.example:{port}/") == b"{}"
    finally:
        await fetcher.close()
        server.close()
