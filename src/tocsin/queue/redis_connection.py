"""Opens Redis, runs the scripts of `lua/` and turns Redis faults into own errors.

Part of the queue room; it must not know keys, jobs or uids.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hiredis
from redis import exceptions as foreign
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tocsin.core.errors import QueueUnavailable

IO_TIMEOUT_S = 5.0
"""A blocked read waits at most a second, so silence of five is a fault."""

_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (foreign.AuthenticationError, "Redis refuses the password: check the address"),
    (foreign.NoPermissionError, "Redis refuses a command: widen the user's ACL"),
    (foreign.OutOfMemoryError, "Redis is over maxmemory: give it more"),
    (
        foreign.ReadOnlyError,
        "Redis is a read-only replica: point the address at the primary",
    ),
    (foreign.TimeoutError, "Redis did not answer in time"),
    (foreign.ConnectionError, "Redis cannot be reached"),
    (OSError, "Redis cannot be reached"),
)


class AddressError(ValueError):
    """The configured address is of a form that cannot be used; says which are."""


def connect(
    address: str | Sequence[str], *, ca_file: str | Path | None = None
) -> Redis:
    """A client for the queue; no connection is made yet, the caller closes it.

    Forms: `host:port`, `redis://`, `rediss://`, `tcp://` (with user, password and
    database as in `redis://user:password@host:port/db`), `unix://path`. A list
    may hold one address. `ca_file` is added to the system's roots for
    `rediss://`. Raises `AddressError` for anything else; sentinel, cluster and
    sharding over several addresses are refused, not guessed.
    """
    url = _single_url(address)
    options: dict[str, Any] = {
        "socket_timeout": IO_TIMEOUT_S,
        "socket_connect_timeout": IO_TIMEOUT_S,
        # A command whose answer was lost may have been done. Only the callers
        # know how to repeat theirs, so the client repeats nothing by itself.
        "retry": Retry(NoBackoff(), 0),
    }
    if url.startswith("rediss://") and ca_file is not None:
        # The context of the client loads the system's roots beside this.
        options["ssl_ca_data"] = Path(ca_file).read_text(encoding="ascii")
    try:
        client: Redis = Redis.from_url(url, **options)
    except ValueError as error:
        raise AddressError(f"Redis address cannot be read: {error}") from None
    pool = client.connection_pool
    pool.connection_class = _packing_fast(pool.connection_class)
    return client


def _packing_fast(plain: type[Any]) -> type[Any]:
    # The asyncio client packs each argument in Python, 2 µs apiece; a record of
    # progress has 128. hiredis packs the whole command in C.
    class FastConnection(plain):  # type: ignore[misc] # one of several classes
        def pack_command(self, *args: Any) -> list[bytes]:
            # "XGROUP CREATE" is two words on the wire.
            return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    return FastConnection


def _single_url(address: str | Sequence[str]) -> str:
    addresses = [address] if isinstance(address, str) else list(address)
    if len(addresses) != 1 or not addresses[0].strip():
        raise AddressError(
            f"the queue takes exactly one Redis address, got {len(addresses)}:"
            " sharding over several is not supported"
        )
    text = addresses[0].strip()
    if "://" not in text:
        text = f"redis://{text}"
    scheme, _, rest = text.partition("://")
    if scheme == "tcp":
        scheme = "redis"
    if "+" in scheme:
        raise AddressError(
            f"{scheme}:// is not supported by the queue:"
            " use redis://, rediss:// or unix:// of one server"
        )
    if scheme not in ("redis", "rediss", "unix"):
        raise AddressError(f"unknown scheme {scheme}:// in the Redis address")
    if scheme != "unix" and not urlsplit(f"{scheme}://{rest}").hostname:
        raise AddressError("the Redis address names no host")
    return f"{scheme}://{rest}"


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise `QueueUnavailable` for whatever Redis or the way to it fails with."""
    try:
        yield
    except (foreign.RedisError, OSError) as error:
        raise QueueUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    for kind, reason in _FAULTS:
        if isinstance(error, kind):
            return reason
    # Redis names the failing command and key there, never a value.
    return f"Redis answers: {str(error)[:200]}"


CONFIRM_MS = 1000
"""How long a replica may take to have what must not be lost."""


@asynccontextmanager
async def confirmed(client: Redis, key: str) -> AsyncIterator[Redis]:
    """One connection, whose writes a replica has when this ends.

    Without replicas there is nobody to wait for. Raises `QueueUnavailable` when
    none of them answered in time; the writes have happened nevertheless. `key`
    is one that nobody reads.
    """
    async with client.client() as one:  # WAIT is about the connection's own writes
        yield one
        about = await one.info("replication")
        if not about.get("connected_slaves"):
            return
        # A repeat has nothing to write, yet what it repeats must be confirmed.
        await run(one, "SET", key, "", "PX", CONFIRM_MS)
        if await run(one, "WAIT", 1, CONFIRM_MS) < 1:
            raise QueueUnavailable("no replica of Redis has the entries yet")


async def run(client: Redis, *command: Any) -> Any:
    """Run one command; the raw form costs least and is the same in all releases."""
    return await client.execute_command(*command)  # type: ignore[no-untyped-call] # its stub


class Script:
    """One file of `lua/`, called by its hash, loaded again where it is unknown."""

    def __init__(self, name: str) -> None:
        source = resources.files("tocsin.queue").joinpath("lua", f"{name}.lua")
        self._text = source.read_text(encoding="utf-8")
        self._sha = hashlib.sha1(  # noqa: S324 - the name that Redis gives a script
            self._text.encode()
        ).hexdigest()

    async def __call__(
        self, client: Redis, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        """Run it; a restarted or flushed server is given the text again."""
        try:
            return await run(client, "EVALSHA", self._sha, len(keys), *keys, *args)
        except foreign.NoScriptError:
            return await run(client, "EVAL", self._text, len(keys), *keys, *args)
