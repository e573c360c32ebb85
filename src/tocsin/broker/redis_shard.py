"""One Redis server of the broker: commands, scripts, and its pub/sub connection.

Part of the broker room; it knows channels of Redis, not what they mean.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import resources
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from tocsin.core.errors import BrokerUnavailable, DependencyLost
from tocsin.redis_access.commands import (
    check,
    is_cluster,
    note_lost,
    open_pubsub,
    redial,
    run,
    tell_changes,
)
from tocsin.redis_access.refusals import find_words
from tocsin.redis_access.scripts import Script

RECONNECT_S = (0.1, 0.5, 1.0, 2.0)
SUBSCRIBE_TIMEOUT_S = 5.0
START_TRIES = 4
CANCEL_AGAIN_S = 0.2
SILENCE_S = 3.0
"""Seconds without a word from the server after which it is pinged; after twice as long
it counts as lost."""

COMPARE_S = 1.0
"""Seconds between two checks that commands and subscriptions go to one server."""
COMPARE_AGAIN_S = 0.2

_log = structlog.get_logger(__name__)


def load_script(name: str) -> Script:
    """A script of this room."""
    source = resources.files("tocsin.broker") / "lua" / f"{name}.lua"
    return Script(source.read_text(encoding="utf-8"))


class RedisShard:
    """Commands to one server, and its messages in the order in which they came."""

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
        self._is_confirmed = False
        self._probe = ""
        self._has_changed = asyncio.Event()
        tell_changes(client, self._tell_change)

    async def start(self, channels: Iterable[str]) -> None:
        """Subscribe to these and read from now on.

        The first of them marks the connection. When the server confirms that one again,
        the connection was lost in between, even if the library has restored it.
        """
        names = list(channels)
        self._mark = names[0]
        self._probe = f"{self._mark}.{uuid.uuid4().hex}"
        self._wanted.update(names)
        if not self.is_cluster:
            self._wanted.add(self._probe)
        # In a cluster the first nodes that are tried may be away.
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
        if not self.is_cluster:  # there, all hear what any server publishes
            self._tasks.append(asyncio.create_task(self._compare_for_ever()))

    async def close(self) -> None:
        """Stop reading and give the pub/sub connection back."""
        self._is_closing = True
        left = set(self._tasks)
        while left:
            # Again and again: the library can swallow a cancellation that comes while
            # it reconnects.
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        self._tasks = []
        await self._drop_pubsub()

    async def subscribe(self, channel: str) -> None:
        """Return when the server has confirmed it."""
        pubsub = self._usable()
        if pubsub is None:
            raise BrokerUnavailable("connection is lost")
        # Confirmed before. A second caller of one that is not yet waits for the
        # same answer.
        if channel in self._wanted and channel not in self._confirming:
            return
        confirmed = self._confirming.get(channel)
        if confirmed is None:
            confirmed = asyncio.get_running_loop().create_future()
            self._confirming[channel] = confirmed
            self._wanted.add(channel)
            try:
                await pubsub.subscribe(channel)
            except (RedisError, OSError, RuntimeError) as error:
                # RuntimeError: it is lost, and the reader dials at this moment.
                self._give_up(channel)
                raise BrokerUnavailable(str(error)) from error
        try:
            # Shielded: others may wait for the same future.
            await asyncio.wait_for(asyncio.shield(confirmed), SUBSCRIBE_TIMEOUT_S)
        except TimeoutError as error:
            self._give_up(channel)
            raise BrokerUnavailable("subscription was not confirmed") from error

    async def unsubscribe(self, channel: str) -> None:
        """Stop hearing it. A server that is away needs no word: it has forgotten it."""
        # First, so that a reconnect from now on leaves it out.
        self._wanted.discard(channel)
        pubsub = self._usable()
        if pubsub is not None:
            with suppress(RedisError, OSError, RuntimeError):
                await pubsub.unsubscribe(channel)

    async def check(self, key: str) -> None:
        """Raise `BrokerUnavailable` unless every server that has a part takes a write.

        `DependencyLost` where one says why, in words for whoever asks. `key` is one
        that nobody reads.
        """
        try:
            await check(self._client, key)
        except (RedisError, OSError) as error:
            if words := find_words(error):
                raise DependencyLost(words) from error
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
                # A gap even if the mark of this connection was never confirmed.
                self._marked = True
                await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
                failures += 1
                if await self._subscribe_again():
                    failures = 0
                continue
            self._heard += 1
            if message is not None:
                self._take(message)

    async def _watch_for_ever(self) -> None:
        """Break a connection on which nothing comes, not even the answer to a ping.

        A server that hangs, or that is cut off, does not close its connections.
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
                    await self._break(pubsub)
            elif pubsub is not None:
                asked_at = heard
                # RuntimeError: the reader may have given the connection up meanwhile.
                with suppress(RedisError, OSError, RuntimeError):
                    await pubsub.ping()

    async def _compare_for_ever(self) -> None:
        """Leave a server on which others no longer publish.

        A server that was replaced behind its address does not tell its listeners. So we
        publish on a channel that only we listen to, and PUBLISH returns how many heard
        it: none means that our subscription is at another server than our commands.
        """
        counts = False
        wait_s = 0.02
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_changed.wait(), wait_s)
            wait_s = COMPARE_S if counts else min(2 * wait_s, COMPARE_S)
            has_changed = self._has_changed.is_set()
            self._has_changed.clear()
            pubsub = self._pubsub
            hearers = await self._count_hearers()
            counts = counts or bool(hearers) or has_changed
            # A proxy may always answer 0, so a count has to have worked once, or
            # another server to have taken over.
            if hearers != 0 or not counts:
                continue
            # Twice, since a subscription may have been on its way.
            await asyncio.sleep(COMPARE_AGAIN_S)
            if await self._count_hearers() == 0 and pubsub is self._pubsub:
                _log.warning(
                    "another Redis takes commands than the one listened to:"
                    " it is dialled anew"
                )
                # After a known change the commands already go to the new server.
                if not has_changed:
                    redial(self._client)
                if pubsub is not None and pubsub is self._pubsub and not self._lost:
                    await self._break(pubsub)

    def _usable(self) -> PubSub | None:
        """The subscriber, unless its connection is lost.

        On a lost connection a command would reconnect, while the reader does it too.
        """
        pubsub = self._pubsub
        if self._lost or pubsub is None:
            return None
        connection: Any = pubsub.connection  # sometimes `None`, whatever the stub says
        return pubsub if connection is not None and connection.is_connected else None

    async def _break(self, pubsub: PubSub) -> None:
        """End the connection; the reader notices and makes another."""
        self._lost = self._marked = True
        if pubsub.connection is not None:
            await pubsub.connection.disconnect(nowait=True)

    async def _count_hearers(self) -> int | None:
        """How many heard the probe; `None` where that cannot be found out now."""
        if self._lost or not self._is_confirmed:
            return None
        try:
            return int(await run(self._client, "PUBLISH", self._probe, b""))
        except (RedisError, OSError):
            return None

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
            # Before a new one is opened, so that another node of a cluster
            # is chosen.
            note_lost(self._client, self._pubsub)
            await self._drop_pubsub()
        self._is_confirmed = False
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
                await self._pubsub.aclose()

    def _tell_change(self) -> None:
        # The new server may lack the last of what the old one had, so positions are
        # checked before anything is published on it.
        self._has_changed.set()
        if self._marked:
            self._on_gap()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "pong":
            return
        name = message["channel"]
        channel = name.decode() if isinstance(name, bytes) else name
        if kind == "message":
            if channel != self._probe:
                self._on_message(channel, message["data"])
        elif kind == "subscribe":
            waiting = self._confirming.pop(channel, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
            if channel == self._mark:
                self._lost = False  # also where the library has dialled by itself
                self._is_confirmed = True
                # Not the first confirmation: messages may have been missed.
                if self._marked:
                    self._on_gap()
                self._marked = True
