"""Opens clients for an address. Part of the Redis ground room.

It must not know keys, nor what anything in Redis means.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from tocsin.config.pem import PemError, load_pem
from tocsin.config.redis_addresses import (
    Login,
    Node,
    RedisAddress,
    RedisTls,
    parse_redis,
)
from tocsin.redis_access.addressed import AddressedRedis
from tocsin.redis_access.pooling import (
    CheckedBlockingPool,
    CheckedPool,
    SocketConnection,
    TcpConnection,
    TlsConnection,
)
from tocsin.redis_access.routed import RoutedRedis
from tocsin.redis_access.topology import ClusterTopology, SentinelTopology


class UnusableAddress(ValueError):
    """An address that cannot be read or whose files cannot; never shows a value."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Timeouts for addresses that name none, and the most connections to a server.

    With `max_connections`, a caller who needs one more waits `io_timeout_s` for it.
    """

    connect_timeout_s: float
    io_timeout_s: float
    max_connections: int | None = None


def open_client(text: str, limits: ConnectionLimits) -> Redis:
    """A client for an address; no connection is made yet, the caller closes it.

    A command that may have been done is never repeated. Only a command that a server
    refused, because it is not in charge, is sent again. Raises `UnusableAddress`.
    """
    try:
        address = parse_redis(text)
        servers = _Opener(address, limits, address.login, address.tls, address.db)
        if address.kind == "cluster":
            cluster = ClusterTopology(address.nodes, servers.open)
            return RoutedRedis(cluster, servers.open, is_cluster=True)
        if address.kind == "sentinel":
            # Database 0: Sentinels have no others.
            guards = _Opener(address, limits, address.sentinel_login, _of(address), 0)
            primary = SentinelTopology(
                address.nodes, address.master_name, guards.open, servers.open
            )
            return RoutedRedis(primary, servers.open, is_cluster=False)
        if address.kind == "socket":
            return servers.open_socket(address.path)
        return servers.open_primary(address.nodes[0])
    except (ValueError, PemError) as error:
        raise UnusableAddress(str(error)) from None


def _of(address: RedisAddress) -> RedisTls | None:
    return address.sentinel_tls


class _Opener:
    """Opens clients of servers that share login, TLS and limits."""

    def __init__(
        self,
        address: RedisAddress,
        limits: ConnectionLimits,
        login: Login,
        tls: RedisTls | None,
        db: int,
    ) -> None:
        connect_s, io_s = address.connect_timeout_s, address.io_timeout_s
        self._io_timeout_s = limits.io_timeout_s if io_s is None else io_s
        self._max_connections = limits.max_connections
        self._class: type[Any] = TcpConnection
        self._options: dict[str, Any] = {
            "db": db,
            "username": login.user or None,
            "password": login.password or None,
            "socket_timeout": self._io_timeout_s,
            "socket_connect_timeout": (
                limits.connect_timeout_s if connect_s is None else connect_s
            ),
            "client_name": address.client_name or None,
            # A command whose answer was lost may have been done: repeated, it
            # would be done twice.
            "retry": Retry(NoBackoff(), 0),
            # With these on, the library mistakes a closed connection for one on which
            # a notice has come.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        if address.force_resp2:
            self._options["protocol"] = 2
        self._tls: dict[str, Any] = {}
        if tls is not None:
            self._class = TlsConnection
            self._tls = {"context": _build_context(tls), "name": tls.server_name}

    def open(self, node: Node) -> Redis:
        """A client of the server there, primary or not."""
        return Redis.from_pool(self._pool(self._class, self._at(node)))

    def open_primary(self, node: Node) -> Redis:
        """A client of the server that is primary behind this address."""
        pool = self._pool(self._class, self._at(node), only_primary=True)
        return AddressedRedis.from_pool(pool)

    def open_socket(self, path: str) -> Redis:
        """A client of the server behind a socket file."""
        pool = self._pool(SocketConnection, {"path": path}, only_primary=True)
        return AddressedRedis.from_pool(pool)

    def _at(self, node: Node) -> dict[str, Any]:
        host, port = node
        return {"host": host, "port": port, **self._tls}

    def _pool(
        self,
        connection: type[Any],
        where: Mapping[str, Any],
        *,
        only_primary: bool = False,
    ) -> ConnectionPool:
        options = {
            **self._options,
            **where,
            "connection_class": connection,
            "only_primary": only_primary,
        }
        if self._max_connections is None:
            return CheckedPool(**options)
        return CheckedBlockingPool(
            max_connections=self._max_connections,
            timeout=self._io_timeout_s,
            **options,
        )


def _build_context(tls: RedisTls) -> ssl.SSLContext:
    """A context that trusts the system's roots and the given ones."""
    context = ssl.create_default_context()
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.ca_pem:
        try:
            ca_pem = _load("tls_server_ca_pem", tls.ca_pem)
            context.load_verify_locations(cadata=ca_pem.decode())
        except (ssl.SSLError, UnicodeError):
            raise UnusableAddress(
                "tls_server_ca_pem: holds no usable certificate"
            ) from None
    if tls.cert_pem:
        cert_pem = _load("tls_cert_pem", tls.cert_pem)
        _load_chain(context, cert_pem, _load("tls_key_pem", tls.key_pem))
    return context


def _load(name: str, value: str) -> bytes:
    try:
        return load_pem(value)
    except PemError as error:
        raise UnusableAddress(f"{name}: {error}") from None


def _load_chain(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    # The ssl module takes files only. This one is ours alone and gone at once.
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_bytes(key_pem.rstrip() + b"\n" + cert_pem)
        try:
            context.load_cert_chain(path, password=_refuse_password)
        except (ssl.SSLError, ValueError):
            raise UnusableAddress(
                "tls_cert_pem and tls_key_pem: are no certificate and its key, or the"
                " key is encrypted"
            ) from None


def _refuse_password() -> str:
    """Instead of asking on the terminal."""
    raise ValueError("encrypted")
