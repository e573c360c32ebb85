"""The queue's Redis: its client, its scripts, its faults and the names of its keys.

Part of the queue room; it must not know what a job is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import TypeVar

from redis import exceptions as foreign
from redis.asyncio import Redis

from tocsin.core.errors import DependencyLost, QueueUnavailable
from tocsin.core.ports.clock import Clock
from tocsin.redis_access import scripts
from tocsin.redis_access.commands import run, run_at
from tocsin.redis_access.connecting import (
    ConnectionLimits,
    UnusableAddress,
    open_client,
)
from tocsin.redis_access.refusals import find_words, is_refusal
from tocsin.redis_access.routed import check_command

__all__ = [
    "GROUP",
    "SCHEDULE_KEPT_MS",
    "AddressError",
    "Keys",
    "QueueScript",
    "check_writing",
    "connect",
    "now_argument",
    "own_errors",
    "parse_receipt",
    "receipt_of",
    "run",
    "run_at",
    "run_confirmed",
    "unavailable",
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
        return open_client(addresses[0], ConnectionLimits(IO_TIMEOUT_S, IO_TIMEOUT_S))
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
        raise unavailable(error) from error


def unavailable(error: Exception) -> QueueUnavailable:
    """The error of this room for one of Redis, or of the way to it."""
    return QueueUnavailable(_reason(error))


def _reason(error: Exception) -> str:
    if words := find_words(error):
        return words
    for kind, reason in _FAULTS:
        if isinstance(error, kind):
            return reason
    # Redis names the failing command and key there, never a value.
    return f"Redis answers: {str(error)[:200]}"


CONFIRM_MS = 1000
"""Milliseconds that a replica may take to have what must not be lost."""


async def run_confirmed(
    client: Redis, key: str, action: Callable[[Redis], Awaitable[T]]
) -> T:
    """What `action` returns, once a replica has what it wrote.

    It is given a client with one connection, and may be called again where the
    first server refused. Without replicas there is nobody to wait for. Raises
    `QueueUnavailable` when none of them answered in time; the writes have happened
    nevertheless. `key` is one that nobody reads.
    """

    # WAIT counts the writes of its own connection, so all goes through one.
    async def act(one: Redis) -> T:
        answer = await action(one)
        try:
            is_confirmed = await _confirm(one, key)
        except foreign.RedisError as error:
            if not is_refusal(error):
                raise
            # The action itself was done, so a refusal here must not repeat it.
            is_confirmed = False
        if not is_confirmed:
            raise QueueUnavailable("no replica of Redis has the entries yet")
        return answer

    return await run_at(client, key, act, alone=True)


async def _confirm(one: Redis, key: str) -> bool:
    about = await one.info("replication")
    if about.get("role") == "slave":
        # It became a replica just now; whether the new primary has the writes is
        # unknown.
        return False
    if not about.get("connected_slaves"):
        return True
    # A repeat has nothing to write, yet what it repeats must be confirmed.
    await run(one, "SET", key, "", "PX", CONFIRM_MS)
    return bool(await run(one, "WAIT", 1, CONFIRM_MS) >= 1)


class QueueScript(scripts.Script):
    """One file of `lua/`, called by its hash, loaded again where it is unknown.

    The functions of `before`, another file, stand before its text.
    """

    def __init__(self, name: str, *, before: str = "") -> None:
        folder = resources.files("tocsin.queue").joinpath("lua")
        names = (before, name) if before else (name,)
        super().__init__(
            "".join(
                folder.joinpath(f"{each}.lua").read_text(encoding="utf-8")
                for each in names
            )
        )


def now_argument(clock: Clock | None) -> int | str:
    """What a script takes as the time; empty means the time of its server."""
    return "" if clock is None else clock.now_ms()


GROUP = "workers"
"""The consumer group of every stream."""
SCHEDULE_KEPT_MS = 7 * 86_400_000
"""How long after its due time a send that no worker took can still be cancelled."""


class Keys:
    """Key names under one prefix.

    The braces are a hash tag: all keys share one cluster slot, which scripts
    that touch several of them need.
    """

    def __init__(self, prefix: str) -> None:
        self._tag = f"{{{prefix}}}:"
        self.progress = f"{self._tag}progress"
        self.dead = f"{self._tag}dead"
        self.sequence = f"{self._tag}sequence"
        self.origin = f"{self._tag}origin"
        self.confirm = f"{self._tag}confirm"
        self.ready = f"{self._tag}ready"
        self.changed = f"{self._tag}changed"
        self.keeper = f"{self._tag}keeper"

    def stream(self, queue: str) -> str:
        """The entries of a queue; all of them are unfinished."""
        return f"{self._tag}stream:{queue}"

    def delayed(self, queue: str) -> str:
        """Members due later, scored by Unix milliseconds."""
        return f"{self._tag}delayed:{queue}"

    def delayed_jobs(self, queue: str) -> str:
        """The jobs of those members."""
        return f"{self._tag}delayed-jobs:{queue}"

    def all_of(self, queue: str) -> list[str]:
        """Stream, delayed set and delayed jobs of a queue."""
        return [self.stream(queue), self.delayed(queue), self.delayed_jobs(queue)]

    def payload(self, push_id: str) -> str:
        """The payload of a request and the number of its unfinished jobs."""
        return f"{self._tag}payload:{push_id}"

    def account(self, push_id: str) -> str:
        """The account of a send."""
        return f"{self._tag}account:{push_id}"

    def once(self, push_id: str) -> str:
        """The mark of an accepted request."""
        return f"{self._tag}once:{push_id}"

    def scheduled(self, uid: str) -> str:
        """The places of jobs that can be cancelled under this uid."""
        return f"{self._tag}scheduled:{uid}"

    def rate(self, name: str) -> str:
        """The token buckets of one key."""
        return f"{self._tag}rate:{name}"


def receipt_of(queue: str, entry_id: str) -> str:
    """How the queue names a delivery, also the field of its progress."""
    return f"{queue}|{entry_id}"


def parse_receipt(receipt: str) -> tuple[str, str]:
    """The queue and the entry id in a receipt."""
    queue, _, entry_id = receipt.rpartition("|")
    return queue, entry_id
