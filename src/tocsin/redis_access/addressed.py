"""A client of the server behind one address. Part of the Redis ground room.

Behind a name or a virtual address another server may take over, while the old one
stays connected as a replica. The client must not repeat a command that may have been
done: it sends again only what was refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import structlog
from redis import exceptions as foreign
from redis.asyncio import Redis

from tocsin.redis_access.pooling import Checking, WrongServer
from tocsin.redis_access.refusals import is_refusal

T = TypeVar("T")

WAITS_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
"""Seconds between the tries of a refused command. A failover that takes longer than
all of them is a fault."""

TELL_PAUSE_S = 5.0
"""Least seconds between two calls of `on_change`: a server may refuse writes for long
and answer everything else, and each answer would look like a change."""

_log = structlog.get_logger(__name__)


class AddressedRedis(Redis):
    """A `Redis` that dials anew when its server refuses, and then sends again.

    A command fails with the library's errors. The functions of `on_change` are called
    when a server answers again after a refusal, be it another server or the same.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_change: list[Callable[[], None]] = []
        self._told = 0
        self._tell_at = 0.0

    @property
    def _pool(self) -> Checking:
        return cast("Checking", self.connection_pool)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command, at the server in charge."""
        command = super().execute_command
        return await self.insist(lambda: command(*args, **options))  # type: ignore[no-untyped-call] # its stub

    async def insist(self, action: Callable[[], Awaitable[T]]) -> T:
        """What `action` returns; it is called again while the server refuses.

        Its first command must be the one that matters: after a refusal all of them run
        again.
        """
        for wait_s in (*WAITS_S, None):
            seen = self._pool.departures
            try:
                answer = await action()
            except foreign.RedisError as error:
                if not is_refusal(error):
                    raise
                self._leave(seen, error)
                if wait_s is None:
                    raise
            else:
                self._note_answer()
                return answer
            await asyncio.sleep(wait_s)
        raise AssertionError  # the last turn returns or raises

    async def run_each(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers in one round, with the error of a command in its place.

        Those that were refused are sent again, in their order.
        """
        answers: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        for wait_s in (*WAITS_S, None):
            seen = self._pool.departures
            found = await self._try_each([commands[place] for place in left], seen)
            for place, answer in zip(left, found, strict=True):
                answers[place] = answer
            left = [place for place in left if _is_refused(answers[place])]
            if not left:
                self._note_answer()
                break
            self._leave(seen, answers[left[0]])
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
        errors = [answer for answer in answers if isinstance(answer, _Broken)]
        if errors:
            # No command was answered: then it is the error of all.
            if len(errors) == len(answers):
                raise errors[0].error
            answers = [_unwrapped(answer) for answer in answers]
        return answers

    def redial(self) -> None:
        """Leave all connections: the address may lead elsewhere by now."""
        self._pool.depart(self._pool.departures)

    async def _try_each(
        self, commands: Sequence[Sequence[Any]], seen: int
    ) -> list[Any]:
        pipeline = self.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            return list(await pipeline.execute(raise_on_error=False))
        except WrongServer as error:  # nothing was sent
            return [error] * len(commands)
        except (foreign.RedisError, OSError) as error:
            # LOADING: some commands may have been done before, so none is sent again,
            # but the server is left.
            if is_refusal(error):
                self._leave(seen, error)
            return [_Broken(error)] * len(commands)

    def _leave(self, seen: int, error: Exception) -> None:
        # Warn once until `_note_answer` has told of a good answer.
        if self._pool.depart(seen) and seen == self._told:
            _log.warning("Redis refuses and is dialled anew", answer=str(error)[:200])

    def _note_answer(self) -> None:
        departures = self._pool.departures
        if departures != self._told and time.monotonic() >= self._tell_at:
            self._told, self._tell_at = departures, time.monotonic() + TELL_PAUSE_S
            _log.info("Redis is used again after another server, or a refusal")
            for tell in self.on_change:
                tell()


class _Broken:
    """Stands for an answer that did not come because the connection broke.

    Unlike an error that the server answered, it never counts as a refusal.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error


def _is_refused(answer: Any) -> bool:
    return isinstance(answer, Exception) and is_refusal(answer)


def _unwrapped(answer: Any) -> Any:
    return answer.error if isinstance(answer, _Broken) else answer
