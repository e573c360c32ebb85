"""Opens Redis, runs the scripts of `lua/` and turns Redis faults into own errors.

Part of the queue room; it must not know keys, jobs or uids.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import TypeVar

from redis import exceptions as foreign
from redis.asyncio import Redis

from tocsin.core.errors import DependencyLost, QueueUnavailable
from tocsin.redis_access import scripts
from tocsin.redis_access.commands import run, run_at
from tocsin.redis_access.connecting import Limits, UnusableAddress, open_client
from tocsin.redis_access.refusals import find_words, is_refusal
from tocsin.redis_access.routed import check_command

__all__ = [
    "AddressError",
    "Script",
    "check_writing",
    "connect",
    "own_errors",
    "run",
    "run_at",
    "run_confirmed",
]

T = TypeVar("T")

IO_TIMEOUT_S = 5.0
"""A blocked read waits at most a second, so silence of five is a fault."""

_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (foreign.TimeoutError, "Redis did not answer in time"),
    (foreign.ConnectionError, "Redis cannot be reached"),
    (OSError, "Redis cannot be reached"),
)


class AddressError(ValueError):
    """The configured address is of a form that cannot be used; says which are."""


def connect(address: str | Sequence[str]) -> Redis:
    """A client for the queue; no connection is made yet, the caller closes it.

    One server, a Sentinel's primary or a cluster, in every form that the
    configuration takes. A list may hold one address: sharding over several is
    refused. Raises `AddressError`.
    """
    addresses = [address] if isinstance(address, str) else list(address)
    if len(addresses) != 1 or not addresses[0].strip():
        raise AddressError(
            f"the queue takes exactly one Redis address, got {len(addresses)}:"
            " sharding over several is not supported"
        )
    try:
        return open_client(addresses[0], Limits(IO_TIMEOUT_S, IO_TIMEOUT_S))
    except UnusableAddress as error:
        raise AddressError(str(error)) from None


async def check_writing(client: Redis, key: str) -> None:
    """Write `key`, which nobody reads and which ends by itself.

    Raises `QueueUnavailable`, or `DependencyLost` in words for whoever asks whether
    this process is ready, where Redis answers that it takes no writes.
    """
    with own_errors():
        try:
            await run(client, *check_command(key))
        except foreign.RedisError as error:
            if words := find_words(error):
                raise DependencyLost(words) from error
            raise


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise `QueueUnavailable` for whatever Redis or the way to it fails with."""
    try:
        yield
    except (foreign.RedisError, OSError) as error:
        raise QueueUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    if words := find_words(error):
        return words
    for kind, reason in _FAULTS:
        if isinstance(error, kind):
            return reason
    # Redis names the failing command and key there, never a value.
    return f"Redis answers: {str(error)[:200]}"


CONFIRM_MS = 1000
"""How long a replica may take to have what must not be lost."""


async def run_confirmed(
    client: Redis, key: str, action: Callable[[Redis], Awaitable[T]]
) -> T:
    """What `action` returns, once a replica has what it wrote.

    It is given a client with one connection, and may be called again where the
    first server refused. Without replicas there is nobody to wait for. Raises
    `QueueUnavailable` when none of them answered in time; the writes have happened
    nevertheless. `key` is one that nobody reads.
    """

    async def act(one: Redis) -> T:  # WAIT is about the connection's own writes
        answer = await action(one)
        try:
            is_confirmed = await _confirm(one, key)
        except foreign.RedisError as error:
            if not is_refusal(error):
                raise
            is_confirmed = False  # what was asked for is done: not a second time
        if not is_confirmed:
            raise QueueUnavailable("no replica of Redis has the entries yet")
        return answer

    return await run_at(client, key, act, alone=True)


async def _confirm(one: Redis, key: str) -> bool:
    about = await one.info("replication")
    if about.get("role") == "slave":
        return False  # since a moment ago; whether another one has it is unknown
    if not about.get("connected_slaves"):
        return True
    # A repeat has nothing to write, yet what it repeats must be confirmed.
    await run(one, "SET", key, "", "PX", CONFIRM_MS)
    return bool(await run(one, "WAIT", 1, CONFIRM_MS) >= 1)


class Script(scripts.Script):
    """One file of `lua/`, called by its hash, loaded again where it is unknown."""

    def __init__(self, name: str) -> None:
        source = resources.files("tocsin.queue").joinpath("lua", f"{name}.lua")
        super().__init__(source.read_text(encoding="utf-8"))
