"""Opens the Redis servers of the engine.

Part of the broker room; it knows no key and no channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

MAX_CONNECTIONS = 64
"""Connections to one server; who needs one more waits as long as for an answer."""


class AddressError(ValueError):
    """The configured address is of a form that cannot be used; says which are."""


def open_clients(
    urls: Sequence[str], *, connect_timeout_s: float = 1.0, io_timeout_s: float = 4.0
) -> list[Redis]:
    """A client for each URL, in order; no connection is made yet.

    Forms: `redis://`, `rediss://` and `unix://`. The caller closes them. Raises
    `AddressError` for anything else.
    """
    return [_open(url, connect_timeout_s, io_timeout_s) for url in urls]


def _open(url: str, connect_timeout_s: float, io_timeout_s: float) -> Redis:
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise AddressError(
            f"engine.redis.address: {scheme}:// is not supported: use redis://,"
            " rediss:// or unix:// of one server, or of several"
        )
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=io_timeout_s,
            socket_connect_timeout=connect_timeout_s,
            socket_timeout=io_timeout_s,
            # A command whose answer was lost may have been done: repeated, a
            # publication would come twice.
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise AddressError(f"engine.redis.address cannot be read: {error}") from None
    return Redis.from_pool(pool)
