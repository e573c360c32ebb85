"""Connections that are checked before they are used. Part of the Redis ground room.

It must not send a caller's command twice: it checks a connection before the command.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import hiredis
from aiohappyeyeballs import start_connection
from redis import exceptions as foreign
from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)

ASK_AFTER_S = 1.0
"""A connection whose server has not been asked for this long is asked before use. A
server closes idle connections, a device on the way drops them in silence, and a server
that has become a replica takes what is published, where nobody listens any more."""
ASK_TIMEOUT_S = 1.0
_REPLICA_STAYS_S = 0.04
"""For this long after finding a replica at the address nobody dials it again."""

_DEPARTURES_AT_ONCE = 6
"""As many as one call tries. A server that refuses writes for long but takes reads is
left more rarely, because other calls use these connections meanwhile."""
_DEPARTURES_PER_S = 1.0
_NEXT_ADDRESS_S = 0.25
"""How long one address is tried before the next one is tried beside it (RFC 8305)."""
_REPLICA = "the server at this address is a read-only replica"
_POLLS = hasattr(select, "poll")


class WrongServer(foreign.ReadOnlyError):
    """The server that was dialled is a replica; nothing was sent to it."""


if TYPE_CHECKING:
    _Base = Connection
else:
    _Base = object


class CheckedConnection(_Base):
    """Knows whether it still has its server, and what that server is."""

    asked_at = 0.0
    is_replica = False
    departures = 0
    """How often the pool had left a server when this one was dialled."""
    _polled: Any = None
    _poll: Any = None

    def pack_command(self, *args: Any) -> list[bytes]:
        """The bytes of a command; "XGROUP CREATE" is two words on the wire.

        In C: the asyncio client needs 2 µs for each argument.
        """
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    def has_ended(self) -> bool:
        """Whether the other side closed it, as far as this host knows by now."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None or writer.is_closing():
            return True
        if reader.at_eof() or reader.exception() is not None:
            return True
        if not _POLLS:
            return False
        if self._polled is not writer:
            self._polled, self._poll = writer, select.poll()
            number = writer.get_extra_info("socket").fileno()
            self._poll.register(number, select.POLLIN)
        # The loop may not have read it yet. An idle connection expects no data, so any
        # that is there is an end, or an answer that nobody waits for.
        return bool(self._poll.poll(0))

    async def ask(self) -> bool:
        """Whether the server answers; then `is_replica` is what it says of itself."""
        self.asked_at = time.monotonic()
        wait_s = min(ASK_TIMEOUT_S, self.socket_timeout or ASK_TIMEOUT_S)
        try:
            # Not PING, which a replica answers as well; not ROLE nor INFO, which
            # many users may not call.
            await self.send_command("HELLO", self.protocol, check_health=False)
            about = await self.read_response(timeout=wait_s)
        except foreign.ResponseError:
            return True  # it does not know HELLO, or refuses it: but it answers
        except (foreign.RedisError, OSError):
            return False
        self.is_replica = _find_role(about) in (b"replica", b"slave")
        return about is not None

    def drop(self) -> None:
        """Close it at once; the next use dials anew."""
        self._parser.on_disconnect()
        self.reset_should_reconnect()  # type: ignore[no-untyped-call] # not in the stubs
        self._close()  # type: ignore[no-untyped-call] # nor is this


class TcpConnection(CheckedConnection, Connection):
    """Over TCP, to the first address of the host that takes a connection."""

    async def _connect(self) -> None:
        # The loop's own way tries one address after the other, so that a first one
        # that drops packets takes the whole time that a connection may take.
        async with asyncio.timeout(self.socket_connect_timeout):
            found = await asyncio.get_running_loop().getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM
            )
            sock = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.socket_keepalive:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    options: Any = self.socket_keepalive_options
                    for name, value in options.items():
                        sock.setsockopt(socket.SOL_TCP, name, value)
                streams = await asyncio.open_connection(sock=sock, **self._secured())
            except BaseException:
                sock.close()
                raise
        self._reader, self._writer = streams

    def _secured(self) -> dict[str, Any]:
        """What `open_connection` takes for TLS."""
        return {}


class SocketConnection(CheckedConnection, UnixDomainSocketConnection):
    """Over a socket file."""


class TlsConnection(TcpConnection, SSLConnection):
    """Over TLS, with a context of ours."""

    def __init__(self, *, context: Any, name: str, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self._name = name

    def _secured(self) -> dict[str, Any]:
        # The client's own context takes files only, and no name to be checked.
        return {"ssl": self._context, "server_hostname": self._name or self.host}


class Checking(ConnectionPool):
    """Hands out connections that have a server.

    With `only_primary` that server says that it is no replica, and has said so within
    `ASK_AFTER_S`.
    """

    departures = 0
    """How often the server behind this address was found not to be in charge."""

    def __init__(self, *, only_primary: bool, **options: Any) -> None:
        super().__init__(**options)
        self._only_primary = only_primary
        self._replica_until = 0.0
        self._may_depart = float(_DEPARTURES_AT_ONCE)
        self._counted_at = 0.0

    async def ensure_connection(self, connection: Any) -> None:
        """Connect it, or find that it is connected; see the class."""
        if connection.is_connected:
            is_of_the_left = connection.departures != self.departures
            if is_of_the_left or connection.has_ended() or await connection.can_read():
                connection.drop()
            elif time.monotonic() < connection.asked_at + ASK_AFTER_S:
                return
            elif not await connection.ask():
                # The idle ones are as old: each would cost its caller the same wait.
                connection.drop()
                self._drop_idle()
            elif connection.is_replica and self._only_primary:
                connection.drop()
                self.depart(connection.departures)
            else:
                return
        # Without dialling: many callers at once would all be told the same.
        if time.monotonic() < self._replica_until:
            raise WrongServer(_REPLICA)
        # Before the await: a departure meanwhile makes this connection one to
        # leave.
        connection.departures = self.departures
        await connection.connect()
        connection.asked_at = time.monotonic()
        if not self._only_primary:
            return
        if not await connection.ask():
            connection.drop()
            raise foreign.ConnectionError("Redis takes a connection and is silent")
        if connection.is_replica:
            connection.drop()
            self._replica_until = time.monotonic() + _REPLICA_STAYS_S
            raise WrongServer(_REPLICA)

    def depart(self, seen: int) -> bool:
        """Use none of the open connections again; returns whether that is new.

        Connections in use are closed when they come back, so that running commands end.
        `seen` is the value of `departures` when the refused call, or its connection,
        began: of many calls that are refused together only the first departs.
        """
        if seen != self.departures:
            return False
        now = time.monotonic()
        # A token bucket: many departures at once, few in the long run.
        gained = (now - self._counted_at) * _DEPARTURES_PER_S
        self._counted_at = now
        self._may_depart = min(_DEPARTURES_AT_ONCE, self._may_depart + gained)
        if self._may_depart < 1:
            return False
        self._may_depart -= 1
        self.departures += 1
        self._drop_idle()
        return True

    def _drop_idle(self) -> None:
        # No await in between, so nobody can take one of them meanwhile.
        for connection in self._available_connections:
            cast("CheckedConnection", connection).drop()


class CheckedPool(Checking, ConnectionPool):
    """Any number of connections."""


class CheckedBlockingPool(Checking, BlockingConnectionPool):
    """At most `max_connections`; a caller who needs one more waits."""


def _find_role(about: Any) -> Any:
    if isinstance(about, dict):
        return about.get(b"role")
    if isinstance(about, list):  # the older protocol: names and values in turn
        return dict(zip(about[::2], about[1::2], strict=False)).get(b"role")
    return None
