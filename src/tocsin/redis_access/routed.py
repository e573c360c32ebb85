"""A client whose commands find the server in charge. Part of the Redis ground room.

It must not repeat a command that may have been done: it sends again only what a server
refused that is not in charge, and that has changed nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from redis import exceptions as foreign
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub

from tocsin.config.redis_addresses import Node
from tocsin.redis_access.addressed import WAITS_S
from tocsin.redis_access.refusals import is_refusal
from tocsin.redis_access.slots import find_key, key_slot
from tocsin.redis_access.topology import Owners, Topology

T = TypeVar("T")
Action = Callable[[Redis], Awaitable[T]]

_ASKING_PAUSE_S = 0.1
"""Least seconds between two times of asking who is in charge."""
_CHECK_MS = 1000
"""Milliseconds for which the key of a check stays."""
_AWAY = (foreign.ConnectionError, foreign.TimeoutError, OSError)

_log = structlog.get_logger(__name__)


class _NoPool(ConnectionPool):
    async def get_connection(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this client has no server of its own: use redis_access")


class RoutedRedis(Redis):
    """A `Redis` for single commands; the server is found by the command's key.

    For pipelines, one connection or pub/sub use the functions of `commands`. A
    command fails with the library's errors, as with a single server.
    """

    def __init__(
        self, topology: Topology, connect: Callable[[Node], Redis], *, is_cluster: bool
    ) -> None:
        super().__init__(connection_pool=_NoPool())
        self.is_cluster = is_cluster
        self.on_change: list[Callable[[], None]] = []
        self._topology = topology
        self._connect = connect
        self._servers: dict[Node, Redis] = {}
        self._owners: Owners = ()
        self._suspects: set[Node] = set()
        self._is_stale = False
        self._asking: asyncio.Task[None] | None = None
        self._failed: Exception | None = None
        self._ask_at = 0.0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command, at the server in charge of its key."""
        return await self.at(
            find_key(args),
            lambda server: server.execute_command(*args, **options),
            # In a cluster every server passes on what is published,
            # whatever the channel's slot.
            anywhere=args[0] == "PUBLISH",
        )

    async def at(
        self,
        key: str | bytes | None,
        action: Action[T],
        *,
        alone: bool = False,
        anywhere: bool = False,
    ) -> T:
        """What `action` returns, given the server in charge of this key.

        It is called again when that server refuses to be in charge, so its first
        command must be the one that matters. With `alone` it gets a connection that
        nobody else uses meanwhile. Without a key any server will do. With `anywhere`
        another server will do where the one of the key is away.
        """
        slot = None if key is None else key_slot(key)
        target: Node | None = None
        is_asking = False
        for wait_s in (*WAITS_S, None):
            node = target
            refusal: Exception
            try:
                node = node or await self._find(slot, anywhere=anywhere)
                answer = await _act(
                    self._server(node), action, alone=alone, is_asking=is_asking
                )
            except foreign.AskError as error:  # or MovedError, which is one
                refusal = error
                # ASK sends this one command to the slot's next owner.
                # MOVED says that the slot has gone there, so the map is
                # old.
                is_asking = not isinstance(error, foreign.MovedError)
                here = node[0] if node is not None else ""
                target = (error.host or here, error.port)
                self._is_stale = self._is_stale or not is_asking
            except (foreign.RedisError, OSError) as error:
                # A connection that broke makes the server a suspect,
                # but nothing is sent again: the command may have been
                # done.
                if is_refusal(error) or isinstance(error, _AWAY):
                    self.suspect(node)
                if not is_refusal(error):
                    raise
                refusal, target, is_asking = error, None, False
            else:
                self._suspects.discard(node)
                return answer
            if wait_s is None:
                raise refusal
            await asyncio.sleep(wait_s)
        raise AssertionError  # the last turn returns or raises

    async def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers of several commands, in one round for each server."""
        groups: dict[Node, list[int]] = {}
        for place, command in enumerate(commands):
            key = find_key(command)
            node = await self._find(None if key is None else key_slot(key))
            groups.setdefault(node, []).append(place)
        answers: list[Any] = [None] * len(commands)

        async def ask(node: Node, places: list[int]) -> None:
            pipeline = self._server(node).pipeline(transaction=False)
            for place in places:
                pipeline.execute_command(*commands[place])
            try:
                found = await pipeline.execute(raise_on_error=False)
            except _AWAY:
                self.suspect(node)
                raise
            for place, answer in zip(places, found, strict=True):
                answers[place] = await self._checked(commands[place], answer)

        await asyncio.gather(*(ask(node, places) for node, places in groups.items()))
        return answers

    async def _checked(self, command: Sequence[Any], answer: Any) -> Any:
        if not isinstance(answer, Exception):
            return answer
        if isinstance(answer, foreign.AskError) or is_refusal(answer):
            return await self.execute_command(*command)
        raise answer

    async def check(self, key: str) -> None:
        """Raise the library's error unless every slot has a server that writes.

        `key` is one that nobody reads; each server is given one like it.
        """
        await self._find(None)
        if None in self._owners:
            self._is_stale = True
            raise foreign.ClusterDownError("some slots have no server")

        async def write(node: Node) -> None:
            command = check_command(self._key_at(node, key))
            try:
                await self._server(node).execute_command(*command)
            except (foreign.RedisError, OSError) as error:
                if isinstance(error, (*_AWAY, foreign.AskError)) or is_refusal(error):
                    self.suspect(node)
                raise
            self._suspects.discard(node)

        await asyncio.gather(*map(write, self._primaries()))

    def _key_at(self, node: Node, key: str) -> str:
        """A key like this one, in a slot of that server."""
        for number in itertools.count():
            found = f"{key}.{{{number}}}"
            if self._owners[key_slot(found) % len(self._owners)] == node:
                return found
        raise AssertionError  # every primary has a slot, so the loop finds a key

    async def open_pubsub(self) -> PubSub:
        """A subscriber at some server that is not known to be away."""
        return self._server(await self._find(None)).pubsub()

    def lose(self, pubsub: PubSub) -> None:
        """Say that the connection of this subscriber broke: its server is suspect."""
        for node, server in self._servers.items():
            if server.connection_pool is pubsub.connection_pool:
                self.suspect(node)

    def suspect(self, node: Node | None) -> None:
        """Ask who is in charge before this server is used again.

        Until it has done something it is avoided where another will do.
        """
        self._is_stale = True
        if node is not None:
            self._suspects.add(node)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close every connection to every server."""
        del close_connection_pool  # there is none
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for server in self._servers.values():
            await server.aclose()
        await self._topology.close()

    async def _find(self, slot: int | None, *, anywhere: bool = False) -> Node:
        is_old = time.monotonic() > self._ask_at + self._topology.max_age_s
        if not self._owners or self._is_stale or is_old:
            asking = self._ask()
            if not self._owners or not self._candidates(slot):
                # Only a call that has no good server waits for the answer.
                await asyncio.wait({asking})
        if not self._owners:
            raise self._failed or foreign.ConnectionError("closed")
        found = self._candidates(slot)
        if not found and anywhere:
            found = self._candidates(None)
        found = found or self._candidates(slot, also_suspects=True)
        if not found:
            self._is_stale = True
            raise foreign.ClusterDownError(f"slot {slot} has no server")
        return random.choice(found)  # noqa: S311 - spreads load, no secret

    def _candidates(
        self, slot: int | None, *, also_suspects: bool = False
    ) -> list[Node]:
        if slot is None:
            nodes = self._primaries()
        else:
            owner = self._owners[slot % len(self._owners)]
            nodes = [] if owner is None else [owner]
        return [node for node in nodes if also_suspects or node not in self._suspects]

    def _primaries(self) -> list[Node]:
        return [node for node in dict.fromkeys(self._owners) if node is not None]

    def _server(self, node: Node) -> Redis:
        server = self._servers.get(node)
        if server is None:
            server = self._servers[node] = self._connect(node)
        return server

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_who_is_in_charge())
        return self._asking

    async def _ask_who_is_in_charge(self) -> None:
        await asyncio.sleep(max(0.0, self._ask_at - time.monotonic()))
        # Before the question: a suspicion that comes while it is asked makes it
        # stale again.
        self._is_stale = False
        known = {node: self._server(node) for node in self._primaries()}
        try:
            owners = await self._topology.fetch(known, frozenset(self._suspects))
        except (foreign.RedisError, OSError) as error:
            self._failed, self._is_stale = error, True
            return
        finally:
            self._ask_at = time.monotonic() + _ASKING_PAUSE_S
        before, self._owners = self._owners, owners
        if before and list(before) != list(owners):
            _log.info("other servers are in charge now", servers=len(self._primaries()))
            await self._leave_others()
            for tell in self.on_change:
                tell()

    async def _leave_others(self) -> None:
        """Close all connections to servers that are not in charge any more.

        Such a server may not know that it was replaced: it takes writes that will be
        lost, and its subscribers hear nothing. Whoever waits for it gets an error.
        """
        # A copy: other tasks may add servers during the await.
        for node, server in list(self._servers.items()):
            if node not in self._owners:
                with suppress(foreign.RedisError, OSError):
                    await server.connection_pool.disconnect()


async def _act(server: Redis, action: Action[T], *, alone: bool, is_asking: bool) -> T:
    if not alone and not is_asking:
        return await action(server)
    async with server.client() as one:
        if is_asking:
            await one.execute_command("ASKING")
        return await action(one)


def check_command(key: str) -> tuple[Any, ...]:
    """A write that leaves nothing behind."""
    return ("SET", key, "", "PX", _CHECK_MS)
