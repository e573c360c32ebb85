"""Connects to one of the addresses of an origin, for the HTTP/2 room.

Whether an address may be dialled is decided by the caller's `resolve`; no others are.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Generic, TypeVar

from tocsin.http2.head import Origin

T = TypeVar("T")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes host and port, returns numeric addresses to dial; OSError when it has none."""

NEXT_ADDRESS_S = 0.25
"""How long one address is tried before the next one is tried beside it (RFC 8305)."""
HANDSHAKE_S = 2.0
"""The same for an address that accepted TCP but has not finished its handshake: that
takes several round trips, so it gets more time."""
SLOW_FOR_S = 600.0
"""How long an address is dialled last after another one was faster."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """The numeric addresses of a host by the system's resolver; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass
class Dialer(Generic[T]):
    """Dials the addresses of one origin, and takes the first connection that works.

    An address that drops packets, or accepts TCP and stays silent, does not keep the
    others from being tried. `attempt` makes a usable connection to an address, and
    calls its second argument once TCP is connected. `discard` closes a connection that
    is not needed. Times are seconds.
    """

    origin: Origin
    attempt: Callable[[str, Callable[[], None]], Awaitable[T]]
    discard: Callable[[T], None]
    resolve: Resolve = look_up
    next_address_s: float = NEXT_ADDRESS_S
    handshake_s: float = HANDSHAKE_S
    _slow_until: dict[str, float] = field(default_factory=dict)

    def avoid(self, address: str) -> None:
        """Dial this address last for a while: it connects but never answers."""
        self._slow_until[address] = asyncio.get_running_loop().time() + SLOW_FOR_S

    async def connect(self) -> T:
        """The first connection that works; raises OSError when none does."""
        loop = asyncio.get_running_loop()
        found = await self.resolve(self.origin.host, self.origin.port)
        if not found:
            raise OSError("there is no address to connect to")
        now = loop.time()
        self._slow_until = {a: t for a, t in self._slow_until.items() if t > now}
        addresses = _interleave(found)
        # A stable sort: slow addresses go last, all others keep their order.
        addresses.sort(key=lambda address: address in self._slow_until)
        race = _Race(self, addresses)
        try:
            winner, connection = await race.run()
        finally:
            await race.end()
        self._slow_until.pop(winner, None)
        slow_until = loop.time() + SLOW_FOR_S
        self._slow_until |= dict.fromkeys(race.overtaken, slow_until)
        return connection


class _Race(Generic[T]):
    """One run over the addresses of a dialer."""

    def __init__(self, dialer: Dialer[T], addresses: Iterable[str]) -> None:
        self._dialer = dialer
        self._todo = deque(addresses)
        self._running: dict[asyncio.Future[T], str] = {}
        self._failures: list[tuple[str, Exception]] = []
        self._next_at = 0.0
        self.overtaken: list[str] = []
        """Addresses that were tried before or beside the winner."""

    async def run(self) -> tuple[str, T]:
        """The winning address and its connection; raises OSError."""
        loop = asyncio.get_running_loop()
        while self._todo or self._running:
            if self._todo and (not self._running or loop.time() >= self._next_at):
                self._start(self._todo.popleft())
            wait_s = self._next_at - loop.time() if self._todo else None
            done, _ = await asyncio.wait(
                self._running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            for one in done:
                address = self._running[one]
                error = one.exception()
                if error is None:
                    del self._running[one]
                    tried = [*(a for a, _ in self._failures), *self._running.values()]
                    self.overtaken = tried
                    return address, one.result()
                del self._running[one]
                if not isinstance(error, Exception):
                    raise error
                self._failures.append((address, error))
                # This one is out, so the next address is tried without a wait.
                self._next_at = 0.0
        raise self._summary()

    async def end(self) -> None:
        """Cancel attempts that still run, and close those that connected too late."""
        running = list(self._running)
        self._running.clear()
        for one in running:
            one.cancel()
        for result in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(result, BaseException):
                self._dialer.discard(result)

    def _start(self, address: str) -> None:
        dialer = self._dialer

        # Waits at least that long from here on; it never shortens a wait.
        def reached() -> None:
            self._next_at = max(self._next_at, loop.time() + dialer.handshake_s)

        loop = asyncio.get_running_loop()
        self._next_at = loop.time() + dialer.next_address_s
        attempt = asyncio.ensure_future(dialer.attempt(address, reached))
        self._running[attempt] = address

    def _summary(self) -> Exception:
        """Why no address works; a wrong certificate is named before all else."""
        errors = [error for _, error in self._failures]
        for error in errors:
            if isinstance(error, ssl.SSLCertVerificationError):
                return error
        if len(errors) == 1:
            return errors[0]
        return OSError(
            "; ".join(
                f"{address}: {str(error) or type(error).__name__}"
                for address, error in self._failures
            )
        )


def _interleave(addresses: Sequence[str]) -> list[str]:
    """The order given, but IPv4 and IPv6 take turns: one may not work at all."""
    first_is_v6 = ":" in addresses[0]
    first = [one for one in addresses if (":" in one) == first_is_v6]
    other = [one for one in addresses if (":" in one) != first_is_v6]
    pairs = zip_longest(first, other)
    return [one for pair in pairs for one in pair if one is not None]


async def dial(
    factory: Callable[[], asyncio.Protocol],
    origin: Origin,
    address: str,
    ssl_context: ssl.SSLContext | None,
    reached: Callable[[], None],
) -> None:
    """Connect a protocol to one numeric address of the origin; raises OSError.

    No name is looked up, so the address that was checked is the one that is dialled.
    The certificate must be the host's all the same. `reached` is called between TCP
    and TLS.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, (address, origin.port))
        reached()
        await loop.create_connection(
            factory,
            sock=sock,
            ssl=ssl_context,
            server_hostname=origin.host if ssl_context else None,
        )
    except BaseException:
        sock.close()
        raise
