"""What an input costs: it must be little, whatever a short input says."""

from __future__ import annotations

import contextlib
import signal
import time
import tracemalloc
from collections.abc import Iterator
from types import FrameType

from tests.fuzz.target import BrokenRule, Target

_TRIES = 3
_PATIENCE = 20
"""An input that takes so many times what is allowed is not waited for any longer."""


class TooDear(BrokenRule):
    """A short input took more time or memory than its target allows."""


@contextlib.contextmanager
def ending(target: Target, data: bytes) -> Iterator[None]:
    """End what runs inside with `TooDear`, if it takes far too much processor time."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise _too_slow(target, data, target.cpu_ms * _PATIENCE)

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, target.cpu_ms * _PATIENCE / 1000)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _too_slow(target: Target, data: bytes, took_ms: float) -> TooDear:
    return TooDear(
        f"{len(data)} bytes take {took_ms:.0f} ms, {target.cpu_ms} are allowed"
    )


def check_time(target: Target, data: bytes) -> None:
    """Raise `TooDear` where each of several tries takes too long."""
    least = float("inf")
    # The least counts: first uses build tables, and the machine has others to serve.
    for _ in range(_TRIES):
        with ending(target, data):
            began_ns = time.thread_time_ns()
            target.run(data)
            least = min(least, (time.thread_time_ns() - began_ns) / 1e6)
        if least <= target.cpu_ms:
            return
    raise _too_slow(target, data, least)


def check_heap(target: Target, data: bytes) -> None:
    """Raise `TooDear` where it holds too much memory at once.

    It has run before: tables that stay are made at the first use.
    """
    tracemalloc.start(1)
    try:
        target.run(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if peak > target.heap_kb * 1024:
        raise TooDear(
            f"{len(data)} bytes take {peak >> 10} KB, {target.heap_kb} are allowed"
        )
