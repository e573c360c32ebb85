"""Joins calls that arrive while a transaction runs into the next one. Pure.

Part of the storage room; it must not know what is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Runs at most one transaction at a time, over all items that wait.

    `apply` gets up to `limit` items and returns a result for each, or `None` for an
    item that has to wait for the next transaction; the first item always gets a
    result. If `apply` raises, the items run one by one, so that a bad one fails alone.
    An error for which `hits_all` is true is given to all of them at once. After a
    group of several it waits for `gather_s`, so that those who were answered can come
    back into the next one; an item that is alone never waits.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[T]], Awaitable[Sequence[R | None]]],
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        hits_all: Callable[[Exception], bool],
        limit: int = 200,
        gather_s: float = 0.0,
    ) -> None:
        self._gather_s = gather_s
        self._apply = apply
        self._spawn = spawn
        self._hits_all = hits_all
        self._limit = limit
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running = False

    async def submit(self, item: T) -> R:
        """Have the item written; returns after its transaction has committed.

        A caller that is cancelled leaves the others alone: what it asked for is
        dropped if it was still waiting, and completed if it was under way.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self._running:
            self._running = True
            self._spawn(self._run())
        return await future

    async def _run(self) -> None:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        try:
            while batch := self._take():
                await self._commit(batch)
                if self._gather_s and len(batch) > 1:
                    await asyncio.sleep(self._gather_s)
        except BaseException as error:
            # Nobody may wait for ever, whatever ended this task.
            for _, future in [*batch, *self._waiting]:
                if not future.done():
                    future.cancel()
            self._waiting.clear()
            if not isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._running = False

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._limit:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _commit(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._apply([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to the callers it concerns
            if len(batch) == 1 or self._hits_all(error):
                for _, future in batch:
                    _fail(future, error)
                return
            for entry in batch:
                await self._commit([entry])
            return
        put_off: list[tuple[T, asyncio.Future[R]]] = []
        for (item, future), result in zip(batch, results, strict=True):
            if result is None:
                put_off.append((item, future))
            elif not future.done():
                future.set_result(result)
        # In front and in their order: they came before those that wait now.
        self._waiting.extendleft(reversed(put_off))


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
