"""What a plain client and a routed one do differently. Redis ground room.

It must not know keys, nor what anything in Redis means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from tocsin.redis_access.routed import Action, RoutedRedis

T = TypeVar("T")


async def run(client: Redis, *command: Any) -> Any:
    """Run one command; the raw form costs least and is the same in all releases."""
    return await client.execute_command(*command)  # type: ignore[no-untyped-call] # its stub


async def run_at(
    client: Redis, key: str, action: Action[T], *, alone: bool = False
) -> T:
    """What `action` returns, given a plain client of the server with this key.

    It is called again when that server refuses to be in charge, so its first command
    must be the one that matters. With `alone` it has a connection for itself.
    """
    if isinstance(client, RoutedRedis):
        return await client.at(key, action, alone=alone)
    if not alone:
        return await action(client)
    async with client.client() as one:
        return await action(one)


async def run_many(client: Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """The answers of several commands, in one round for each server."""
    if isinstance(client, RoutedRedis):
        return await client.run_many(commands)
    return await _run_pipeline(client, commands, whole=False)


async def run_each(client: Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """As `run_many` on one server, with the error of a command in its place."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return list(await pipeline.execute(raise_on_error=False))


async def run_whole(
    client: Redis, key: str, commands: Sequence[Sequence[Any]]
) -> list[Any]:
    """As `run_many`, for commands on one key: all are done, or none is.

    While the slot of the key moves to another server it fails, having done nothing.
    """
    return await run_at(
        client, key, lambda server: _run_pipeline(server, commands, whole=True)
    )


async def check(client: Redis) -> None:
    """Raise the library's error unless every server answers that has a part."""
    if isinstance(client, RoutedRedis):
        await client.check()
    else:
        await run(client, "PING")


def is_one_server(client: Redis) -> bool:
    """Whether the client talks to the same server always, whatever the key."""
    return not isinstance(client, RoutedRedis)


async def open_pubsub(client: Redis) -> PubSub:
    """A subscriber; in a cluster at any server, since all hear what one publishes."""
    if isinstance(client, RoutedRedis):
        return await client.open_pubsub()
    return client.pubsub()


def note_lost(client: Redis, pubsub: PubSub) -> None:
    """Say that the subscriber's connection broke, so that another server is chosen."""
    if isinstance(client, RoutedRedis):
        client.lose(pubsub)


def tell_changes(client: Redis, tell: Callable[[], None]) -> None:
    """Call `tell` whenever other servers have come to be in charge."""
    if isinstance(client, RoutedRedis):
        client.on_change.append(tell)


def is_cluster(client: Redis) -> bool:
    """Whether keys are spread over slots, so that a script may touch one slot only."""
    return isinstance(client, RoutedRedis) and client.is_cluster


def tagged(name: str) -> str:
    """A part of a key that decides about its slot in a cluster."""
    # Empty braces would decide nothing; none of the others ends like this.
    return f"{{_}}{name}." if name.startswith("}") else f"{{{name}}}"


def untagged(text: str) -> str:
    """The name that `tagged` made this of."""
    return text[3:-1] if text.endswith(".") else text[1:-1]


async def _run_pipeline(
    client: Redis, commands: Sequence[Sequence[Any]], *, whole: bool
) -> list[Any]:
    pipeline = client.pipeline(transaction=whole)
    for command in commands:
        pipeline.execute_command(*command)
    return list(await pipeline.execute())
