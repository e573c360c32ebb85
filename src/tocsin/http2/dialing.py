"""Making the connection to an origin, for the HTTP/2 room.

It judges no address: where the caller chooses addresses, those are dialled in order.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

from tocsin.http2.head import Origin

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes host and port, returns numeric addresses to dial; OSError when it has none."""


async def dial(
    factory: Callable[[], asyncio.Protocol],
    origin: Origin,
    ssl_context: ssl.SSLContext | None,
    resolve: Resolve | None,
) -> None:
    """Connect a protocol to the origin; raises OSError.

    With `resolve` nothing is looked up after it, so what it has checked is what is
    dialled; the certificate must still be the host's.
    """
    loop = asyncio.get_running_loop()
    name = origin.host if ssl_context else None
    if resolve is None:
        await loop.create_connection(
            factory, origin.host, origin.port, ssl=ssl_context, server_hostname=name
        )
        return
    addresses = await resolve(origin.host, origin.port)
    sock = await _open_socket(addresses, origin.port)
    try:
        await loop.create_connection(
            factory, sock=sock, ssl=ssl_context, server_hostname=name
        )
    except BaseException:
        sock.close()
        raise


async def _open_socket(addresses: Sequence[str], port: int) -> socket.socket:
    """A socket connected to the first address that answers."""
    failure = OSError("there is no address to connect to")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure
