"""Runs one script on one Redis server, with a round trip for all calls that wait.

Part of the Redis ground room; it must not know what the script does, nor look at
answers. A command costs this process more than the script costs Redis; a joined one
costs it a tenth.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from tocsin.core.errors import ApiError
from tocsin.redis_access.commands import run_each
from tocsin.redis_access.scripts import Script

AT_ONCE = 256
"""Calls in one round trip at most: what Redis does without serving others."""


class _Call:
    """Keys and arguments, and the one who waits for the answer."""

    __slots__ = ("answer", "args", "keys")

    def __init__(self, keys: Sequence[Any], args: Sequence[Any]) -> None:
        self.keys = [_packed(key) for key in keys]
        self.args = [_packed(argument) for argument in args]
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


def _packed(value: Any) -> Any:
    """Text as bytes: text that cannot be encoded fails only its own caller here."""
    return value.encode() if isinstance(value, str) else value


class JoinedScript:
    """Runs one script; calls are carried out in the order they came.

    One round trip is under way at a time; the next takes all calls that have gathered.
    Where one fails as a whole, all that wait are told, instead of each waiting for a
    timeout of its own.
    """

    def __init__(
        self, client: Redis, script: Script, fault: Callable[[Exception], ApiError]
    ) -> None:
        """`client` is that of one server and belongs to whoever opened it.

        `fault` makes the caller's error of what Redis or the way to it fails with.
        """
        self._client = client
        self._script = script
        self._fault = fault
        self._waiting: deque[_Call] = deque()
        self._under_way: list[_Call] = []
        self._carrier: asyncio.Task[None] | None = None

    async def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script answers; raises what `fault` makes.

        A caller who stops waiting cannot know whether the call is carried out.
        """
        call = _Call(keys, args)
        self._waiting.append(call)
        if self._carrier is None:
            self._carrier = asyncio.get_running_loop().create_task(self._carry())
        return await call.answer

    async def close(self) -> None:
        """End the round trip under way; calls that still wait fail."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.gather(self._carrier, return_exceptions=True)
            # A task that was cancelled before it began never ran its `finally`.
            self._carrier = None
        self._tell_all(self._fault(ConnectionError("it is closed")))

    def _tell_all(self, error: Exception) -> None:
        for call in (*self._under_way, *self._waiting):
            self._tell(call, error)
        self._under_way = []
        self._waiting.clear()

    async def _carry(self) -> None:
        try:
            while self._waiting:
                number = min(AT_ONCE, len(self._waiting))
                self._under_way = [self._waiting.popleft() for _ in range(number)]
                await self._run(self._under_way)
            self._under_way = []
        except Exception as error:  # noqa: BLE001 - a mistake here leaves nobody waiting
            self._tell_all(error)
        finally:
            self._carrier = None

    async def _run(self, calls: list[_Call]) -> None:
        commands = [self._script.command(call.keys, call.args) for call in calls]
        try:
            answers = await run_each(self._client, commands)
        except (RedisError, OSError) as error:
            self._tell_all(error)
            return
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, NoScriptError):
                await self._run_alone(call)
            else:
                self._tell(call, answer)

    async def _run_alone(self, call: _Call) -> None:
        """Send the text of the script to a server that did not know it."""
        try:
            self._tell(call, await self._script(self._client, call.keys, call.args))
        except (RedisError, OSError) as error:
            self._tell(call, error)

    def _tell(self, call: _Call, answer: Any) -> None:
        if call.answer.done():  # who asked has given up
            return
        if isinstance(answer, RedisError | OSError):
            unavailable = self._fault(answer)
            unavailable.__cause__ = answer
            answer = unavailable
        if isinstance(answer, Exception):
            call.answer.set_exception(answer)
        else:
            call.answer.set_result(answer)
