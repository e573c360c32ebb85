"""The search: mutated inputs, guided by what is reached, until the time is over."""

from __future__ import annotations

import random
import re
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.fuzz.cost import check_heap, check_time, ending
from tests.fuzz.coverage import Coverage
from tests.fuzz.mutations import Mutator
from tests.fuzz.target import BrokenRule, Target

_SHRINK_TRIES = 400
_SHRINK_S = 20
_HEAP_EVERY = 256
"""Memory is measured for what reaches something new, and for one in so many others."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that breaks a rule, and how it does. `place` tells faults apart."""

    target: str
    data: bytes
    error: str
    place: str


@dataclass(slots=True)
class Search:
    """What a search has done: `new` are the inputs that reached something new."""

    tried: int
    new: list[bytes]
    findings: list[Finding]


def examine(target: Target, data: bytes) -> Finding | None:
    """Run one input with all checks."""
    try:
        check_time(target, data)
        check_heap(target, data)
    except Exception as error:  # noqa: BLE001 - any error is what is searched for
        return _finding(target, data, error)
    return None


def search(
    target: Target,
    corpus: Iterable[bytes],
    coverage: Coverage,
    *,
    seed: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """Try inputs for so many seconds; each fault is found once."""
    chance = random.Random(f"{target.name} {seed}")
    mutator = Mutator(chance.getrandbits(64), target.words, target.longest)
    done = Search(0, [], [])
    places: set[str] = set()
    pool = [data[: target.longest] for data in corpus] or [b""]
    waiting = list(pool)
    until = clock() + seconds
    while waiting or clock() < until:
        begun = not waiting
        data = (
            mutator.mutate(_choose(chance, pool), chance.choice(pool))
            if begun
            else waiting.pop()
        )
        done.tried += 1
        is_new, finding = _try(target, data, coverage)
        if finding is None and (is_new or done.tried % _HEAP_EVERY == 0):
            finding = examine(target, data)
        if finding is not None:
            if finding.place not in places:
                places.add(finding.place)
                done.findings.append(shrink(target, finding))
        elif is_new and begun:
            pool.append(data)
            done.new.append(data)
    return done


def _choose(chance: random.Random, pool: list[bytes]) -> bytes:
    # What came last reached something new last: more is near it.
    if chance.randrange(2):
        return pool[-1 - chance.randrange(min(len(pool), 16))]
    return chance.choice(pool)


def _try(
    target: Target, data: bytes, coverage: Coverage
) -> tuple[bool, Finding | None]:
    began_ns = time.thread_time_ns()
    try:
        with ending(target, data):
            is_new = coverage.is_new(lambda: target.run(data))
    except Exception as error:  # noqa: BLE001 - any error is what is searched for
        return False, _finding(target, data, error)
    took_ms = (time.thread_time_ns() - began_ns) / 1e6
    # Measured under the tracer: without it all is faster.
    return is_new, examine(target, data) if took_ms > target.cpu_ms else None


def shrink(target: Target, finding: Finding) -> Finding:
    """The same fault from fewer bytes, as far as cutting ranges out leads."""
    best = finding
    tries, until = _SHRINK_TRIES, time.monotonic() + _SHRINK_S
    size = len(best.data) // 2
    while size and tries > 0:
        at = 0
        while at < len(best.data) and tries > 0 and time.monotonic() < until:
            tries -= 1
            shorter = best.data[:at] + best.data[at + size :]
            found = examine(target, shorter)
            if found is not None and found.place == best.place:
                best = found
            else:
                at += size
        if time.monotonic() > until:
            break
        size //= 2
    return best


def _finding(target: Target, data: bytes, error: Exception) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/tocsin/" in frame.filename]
    last = (ours or frames)[-1]
    name = type(error).__name__
    # A rule is broken where it is checked, whatever the line; its text tells which.
    rule = re.sub("[0-9]+", "", str(error)) if isinstance(error, BrokenRule) else ""
    file = last.filename.rpartition("/")[2]
    place = f"{name} {file} {rule[-40:] or last.lineno}"
    told = f"{name}: {str(error)[:300]} ({file}:{last.lineno})"
    return Finding(target.name, data, told, place)
