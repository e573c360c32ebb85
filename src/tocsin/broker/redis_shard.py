"""One Redis server of the broker: commands, scripts, and its pub/sub connection.

Part of the broker room; it knows channels of Redis, not what they mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import resources
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from tocsin.core.errors import BrokerUnavailable
from tocsin.redis_access.commands import (
    check,
    is_cluster,
    note_lost,
    open_pubsub,
    run,
    tell_changes,
)
from tocsin.redis_access.scripts import Script

RECONNECT_S = (0.1, 0.5, 1.0, 2.0)
SUBSCRIBE_TIMEOUT_S = 5.0
START_TRIES = 4
CANCEL_AGAIN_S = 0.2
SILENCE_S = 3.0
"""After this long without a word from a server it is asked for one, and after twice
as long it counts as lost."""

_log = structlog.get_logger("tocsin.broker")


def load_script(name: str) -> Script:
    """A script of this room."""
    source = resources.files("tocsin.broker") / "lua" / f"{name}.lua"
    return Script(source.read_text(encoding="utf-8"))


class RedisShard:
    """Commands to one server, and messages from it in the order they came."""

    def __init__(
        self,
        client: Redis,
        *,
        on_message: Callable[[str, bytes], None],
        on_gap: Callable[[], None],
    ) -> None:
        """`client` belongs to whoever opened it; names are text, payloads bytes."""
        self._client = client
        self._on_message = on_message
        self._on_gap = on_gap
        self.is_cluster = is_cluster(client)
        self._pubsub: PubSub | None = None
        self._wanted: set[str] = set()
        self._confirming: dict[str, asyncio.Future[None]] = {}
        self._scripts: dict[str, Script] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = 0
        self._is_closing = False
        self._lost = False
        self._mark = ""
        self._marked = False
        tell_changes(client, self._tell_change)

    async def start(self, channels: Iterable[str]) -> None:
        """Subscribe to these and read from now on.

        The first of them marks the connection: whenever the server confirms it
        again, the connection was lost in between, whoever mended it.
        """
        names = list(channels)
        self._mark = names[0]
        self._wanted.update(names)
        # The first nodes of a cluster that are tried may be away.
        for tries_left in range(START_TRIES - 1 if self.is_cluster else 0, -1, -1):
            try:
                await self._subscribe_wanted()
                break
            except (RedisError, OSError) as error:
                if not tries_left:
                    raise BrokerUnavailable(str(error)) from error
        self._tasks = [
            asyncio.create_task(self._read_for_ever()),
            asyncio.create_task(self._watch_for_ever()),
        ]

    async def close(self) -> None:
        """Stop reading and give the pub/sub connection back."""
        self._is_closing = True
        left = set(self._tasks)
        while left:
            # More than once: a cancellation that falls into the library's own
            # reconnecting can be lost there.
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        self._tasks = []
        await self._drop_pubsub()

    async def subscribe(self, channel: str) -> None:
        """Return when the server has confirmed it."""
        pubsub = self._pubsub
        if self._lost or pubsub is None:
            raise BrokerUnavailable("connection is lost")
        if channel in self._wanted and channel not in self._confirming:
            return
        confirmed = self._confirming.get(channel)
        if confirmed is None:
            confirmed = asyncio.get_running_loop().create_future()
            self._confirming[channel] = confirmed
            self._wanted.add(channel)
            try:
                await pubsub.subscribe(channel)
            except (RedisError, OSError) as error:
                self._give_up(channel)
                raise BrokerUnavailable(str(error)) from error
        try:
            await asyncio.wait_for(asyncio.shield(confirmed), SUBSCRIBE_TIMEOUT_S)
        except TimeoutError as error:
            self._give_up(channel)
            raise BrokerUnavailable("subscription was not confirmed") from error

    async def unsubscribe(self, channel: str) -> None:
        """Hear it no more; a server that is away forgets it anyway."""
        self._wanted.discard(channel)
        if not self._lost and self._pubsub is not None:
            with suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(channel)

    async def check(self) -> None:
        """Raise `BrokerUnavailable` unless every server answers that has a part."""
        try:
            await check(self._client)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    async def run(self, *command: Any) -> Any:
        """One command; raises `BrokerUnavailable`."""
        try:
            return await run(self._client, *command)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    async def run_script(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any]
    ) -> Any:
        """One script of this room; raises `BrokerUnavailable`."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = load_script(name)
        try:
            return await script(self._client, keys, arguments)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    def _give_up(self, channel: str) -> None:
        self._wanted.discard(channel)
        waiting = self._confirming.pop(channel, None)
        if waiting is not None and not waiting.done():
            waiting.cancel()

    async def _read_for_ever(self) -> None:
        failures = 0
        while not self._is_closing:
            try:
                message = await self._next_message()
            except (RedisError, OSError, RuntimeError) as error:
                # RuntimeError: the library says so of a connection that a failed
                # subscribe has taken away.
                if not self._lost:
                    _log.warning("connection to Redis lost", error=str(error))
                self._lost = True
                self._marked = True  # whether or not that was heard in time
                await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
                failures += 1
                if await self._subscribe_again():
                    failures = 0
                continue
            self._heard += 1
            if message is not None:
                self._take(message)

    async def _watch_for_ever(self) -> None:
        """Break a connection on which nothing comes, not even an answer.

        A server that hangs, or to which the way is cut, says nothing of it.
        """
        asked_at = -1
        while True:
            heard, pubsub = self._heard, self._pubsub
            await asyncio.sleep(SILENCE_S)
            if self._heard != heard or self._lost or pubsub is not self._pubsub:
                asked_at = -1
            elif asked_at == heard:
                asked_at = -1
                if pubsub is not None and pubsub.connection is not None:
                    _log.warning("Redis says nothing and counts as lost")
                    await pubsub.connection.disconnect(nowait=True)
            elif pubsub is not None:
                asked_at = heard
                # RuntimeError: the reader may have given the connection up meanwhile.
                with suppress(RedisError, OSError, RuntimeError):
                    await pubsub.ping()

    async def _subscribe_again(self) -> bool:
        try:
            await self._subscribe_wanted()
        except (RedisError, OSError):
            return False
        self._lost = False
        _log.info("connection to Redis is back", channels=len(self._wanted))
        return True

    async def _subscribe_wanted(self) -> None:
        if self._pubsub is not None:
            note_lost(self._client, self._pubsub)
            await self._drop_pubsub()
        pubsub = self._pubsub = await open_pubsub(self._client)
        if self._wanted:
            await pubsub.subscribe(*self._wanted)

    async def _next_message(self) -> dict[str, Any] | None:
        if self._pubsub is None:
            raise RuntimeError("no connection")
        message: dict[str, Any] | None = await self._pubsub.get_message(timeout=None)
        return message

    async def _drop_pubsub(self) -> None:
        if self._pubsub is not None:
            with suppress(RedisError, OSError):
                await self._pubsub.aclose()  # type: ignore[no-untyped-call] # not in the stubs

    def _tell_change(self) -> None:
        # The new server may lack the last of what the old one had: positions are
        # looked at before anything is published upon it.
        if self._marked:
            self._on_gap()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "pong":
            return
        name = message["channel"]
        channel = name.decode() if isinstance(name, bytes) else name
        if kind == "message":
            self._on_message(channel, message["data"])
        elif kind == "subscribe":
            waiting = self._confirming.pop(channel, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
            if channel == self._mark:
                if self._marked:
                    self._on_gap()
                self._marked = True
