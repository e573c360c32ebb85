"""Opens the Redis servers of the engine.

Part of the broker room; it knows no key and no channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from tocsin.redis_access.connecting import (
    ConnectionLimits,
    UnusableAddress,
    open_client,
)

MAX_CONNECTIONS = 64
"""Connections to one server; who needs one more waits as long as for an answer."""


class EngineAddressError(ValueError):
    """The configured address is of a form that cannot be used; says which are."""


def open_clients(
    urls: Sequence[str], *, connect_timeout_s: float = 1.0, io_timeout_s: float = 4.0
) -> list[Redis]:
    """A client for each address, in order; no connection is made yet.

    Each may be one server, a Sentinel's primary or a cluster, in every form that the
    configuration takes. The caller closes them. Raises `EngineAddressError`.
    """
    limits = ConnectionLimits(connect_timeout_s, io_timeout_s, MAX_CONNECTIONS)
    try:
        return [open_client(url, limits) for url in urls]
    except UnusableAddress as error:
        raise EngineAddressError(f"engine.redis.address: {error}") from None
