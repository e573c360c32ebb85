"""What a target of the fuzzer is: a function that takes any bytes and checks rules."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class BrokenRule(AssertionError):
    """The code under test did something that it promises not to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """One door for foreign bytes.

    `run` raises for bytes that break a rule, and returns for any others. `examples` are
    inputs that mean something, to begin with, and `words` pieces that mutations put in.
    `longest` bounds an input, in bytes; `cpu_ms` is the processor time and `heap_kb`
    the memory that an input may take at most.
    """

    name: str
    run: Callable[[bytes], None]
    examples: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 8_192
    cpu_ms: int = 60
    heap_kb: int = 4_096


def require(holds: object, rule: str) -> None:
    """Raise `BrokenRule` where a rule does not hold."""
    if not holds:
        raise BrokenRule(rule)


def cut(data: bytes) -> list[bytes]:
    """The data in pieces; the same data is always cut in the same places."""
    chance = random.Random(zlib.crc32(data))
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def take(data: bytes) -> tuple[int, bytes]:
    """A number from the first byte, to choose by, and what is left."""
    return (data[0], data[1:]) if data else (0, b"")
