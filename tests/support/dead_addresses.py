"""Addresses of this machine at which nobody answers, each in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock


@contextlib.contextmanager
def dropping(address: str, port: int) -> Iterator[None]:
    """A port whose queue is full: packets to it are dropped, as by a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(32):
            one = stack.enter_context(socket.socket())
            one.settimeout(0.2)
            try:
                one.connect((address, port))
            except TimeoutError:
                yield
                return
        raise AssertionError("the queue never filled")


class Silence:
    """How many connections a silent server took, and how many are open."""

    def __init__(self) -> None:
        self.taken = 0
        self.open = 0
        self.changed = asyncio.Condition()

    async def all_gone(self) -> None:
        """Wait until the other side closed all of them."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.taken and not self.open)


@contextlib.asynccontextmanager
async def silent(
    address: str, port: int, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Silence]:
    """A server that takes connections, greets by TLS if at all, and is silent."""
    silence = Silence()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silence.taken += 1
        silence.open += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()
        async with silence.changed:
            silence.open -= 1
            silence.changed.notify_all()

    server = await asyncio.start_server(hold, address, port, ssl=tls)
    try:
        yield silence
    finally:
        server.close()


@contextlib.contextmanager
def resolving(host: str, *addresses: str) -> Iterator[None]:
    """Makes the system's resolver give these addresses for a host, in this order."""
    real = socket.getaddrinfo

    def look_up(name: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if name != host:
            return real(name, port, *args, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in addresses
        ]

    with mock.patch.object(socket, "getaddrinfo", look_up):
        yield
