"""A Redis whose name has a first address that drops packets."""

from __future__ import annotations

from tests.support.dead_addresses import dropping, resolving
from tests.support.redis_server import RedisServer

from tocsin.redis_access.connecting import ConnectionLimits, open_client

DEAD, ALIVE = "127.0.0.2", "127.0.0.1"
LIMITS = ConnectionLimits(connect_timeout_s=5, io_timeout_s=5)


async def test_the_second_address_is_used(redis_server: RedisServer) -> None:
    """Within the time that one connection may take, which all addresses share."""
    client = open_client(f"redis://redis.example:{redis_server.port}", LIMITS)
    try:
        with (
            resolving("redis.example", DEAD, ALIVE),
            dropping(DEAD, redis_server.port),
        ):
            assert await client.ping()
    finally:
        await client.aclose()
