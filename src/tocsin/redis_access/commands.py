"""What a plain client and a routed one do differently. Redis ground room.

It must not know keys, nor what anything in Redis means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from tocsin.redis_access.addressed import AddressedRedis
from tocsin.redis_access.routed import Action, RoutedRedis, check_command

T = TypeVar("T")


async def run(client: Redis, *command: Any) -> Any:
    """Run one command; the raw form costs least and is the same in all releases."""
    return await client.execute_command(*command)


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
    if isinstance(client, AddressedRedis):
        return await client.insist(lambda: _act_alone(client, action))
    return await _act_alone(client, action)


async def _act_alone(client: Redis, action: Action[T]) -> T:
    pool = client.connection_pool
    async with Redis(connection_pool=pool, single_connection_client=True) as one:
        return await action(one)


async def run_many(client: Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """The answers of several commands, in one round for each server."""
    if isinstance(client, RoutedRedis):
        return await client.run_many(commands)
    answers = await run_each(client, commands)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def run_each(client: Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """As `run_many` on one server, with the error of a command in its place."""
    if isinstance(client, AddressedRedis):
        return await client.run_each(commands)
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return list(await pipeline.execute(raise_on_error=False))


async def run_whole(
    client: Redis, key: str, commands: Sequence[Sequence[Any]]
) -> list[Any]:
    """As `run_many`, for commands on one key: all are done, or none of them.

    While the slot of the key moves to another server it fails, having done nothing.
    """
    if isinstance(client, AddressedRedis):
        return await client.insist(lambda: _run_transaction(client, commands))
    return await run_at(client, key, lambda server: _run_transaction(server, commands))


async def check(client: Redis, key: str) -> None:
    """Raise the library's error unless every server that has keys takes a write.

    `key` is one that nobody reads; in a cluster others are made of it.
    """
    if isinstance(client, RoutedRedis):
        await client.check(key)
    else:
        await run(client, *check_command(key))


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
    if isinstance(client, (RoutedRedis, AddressedRedis)):
        client.on_change.append(tell)


def redial(client: Redis) -> None:
    """Make commands dial anew, since they go to a server that is not in charge."""
    if isinstance(client, AddressedRedis):
        client.redial()


def is_cluster(client: Redis) -> bool:
    """Whether keys are spread over slots, so that a script may touch one slot only."""
    return isinstance(client, RoutedRedis) and client.is_cluster


def tagged(name: str) -> str:
    """A part of a key that decides about its slot in a cluster."""
    # A name that begins with "}" would make an empty hash tag, which Redis ignores, so
    # it gets "{_}" in front. Only these end with a dot.
    return f"{{_}}{name}." if name.startswith("}") else f"{{{name}}}"


def untagged(text: str) -> str:
    """The name that `tagged` made this of."""
    return text[3:-1] if text.endswith(".") else text[1:-1]


async def _run_transaction(
    client: Redis, commands: Sequence[Sequence[Any]]
) -> list[Any]:
    pipeline = client.pipeline(transaction=True)
    for command in commands:
        pipeline.execute_command(*command)
    return list(await pipeline.execute())
