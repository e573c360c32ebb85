"""An event loop whose time passes only when nothing else is left to do.

A life of minutes takes milliseconds, and takes the same course each time.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import selectors
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

from tocsin.core import elapsed

START_MS = 1_800_000_000_000


class _Selector(selectors.BaseSelector):
    """Waits for nothing: it moves the time of its loop instead."""

    def __init__(self, skip: Callable[[float], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._skip = skip

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        found = self._real.select(0)
        if not found and timeout > 0:
            self._skip(timeout)
        return found

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> Any:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Selector(self._skip))

    def time(self) -> float:
        return self._now_s

    def _skip(self, seconds: float) -> None:
        self._now_s += seconds


class LoopClock:
    """`Clock` by the time of the running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000)


@cache
def _modules_with_deadlines() -> list[ModuleType]:
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(("tocsin.", "tests."))
        and getattr(module, "elapsed_s", None) is elapsed.elapsed_s
    ]


@contextmanager
def one_course(loop: asyncio.AbstractEventLoop, seed: int) -> Iterator[None]:
    """What elapses is the loop's time, and chance is the seed's."""
    chance = random.Random(seed)
    before = random.getstate()
    random.seed(seed)
    with ExitStack() as stack:
        for module in _modules_with_deadlines():
            stack.enter_context(patch.object(module, "elapsed_s", loop.time))
        stack.enter_context(
            patch.object(
                uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)
            )
        )
        stack.enter_context(
            patch.object(
                secrets, "token_hex", lambda size=32: chance.randbytes(size).hex()
            )
        )
        try:
            yield
        finally:
            random.setstate(before)
