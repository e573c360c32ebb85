from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.fuzz.engine import Search, examine, search
from tests.fuzz.target import Target, require


class NothingCovered:
    """Coverage that nothing reaches."""

    def is_new(self, run: Callable[[], None]) -> bool:
        run()
        return False


def _target(run: Callable[[bytes], None], **more: Any) -> Target:
    def examples() -> Iterable[bytes]:
        return ()

    return Target("t", run, examples, **more)


def _search(target: Target, tries: int) -> Search:
    ticks = itertools.count()
    return search(
        target,
        [b"begin"],
        NothingCovered(),
        seed=1,
        seconds=tries,
        clock=lambda: float(next(ticks)),
    )


def test_a_broken_rule_is_found_once_and_made_short() -> None:
    """From a long input that breaks it to the bytes that do."""

    def run(data: bytes) -> None:
        require(b"i" not in data, "there is an i")

    done = _search(_target(run), 200)
    assert done.tried > 100
    assert [(one.data, one.error.split(" (")[0]) for one in done.findings] == [
        (b"i", "BrokenRule: there is an i")
    ]


def test_errors_of_two_kinds_are_two_findings() -> None:
    """The first fault does not hide the second."""

    def run(data: bytes) -> None:
        require(len(data) != 5, "five")
        require(len(data) != 6, "six")

    done = _search(_target(run), 2000)
    rules = sorted(one.error.split(" (")[0] for one in done.findings)
    assert rules == ["BrokenRule: five", "BrokenRule: six"]


def test_an_input_that_takes_long_is_a_finding() -> None:
    """Also one that would not end: it is not waited for."""

    def run(data: bytes) -> None:
        while data:
            pass

    assert examine(_target(run, cpu_ms=1), b"") is None
    finding = examine(_target(run, cpu_ms=1), b"x")
    assert finding is not None
    assert finding.error.startswith("TooDear: 1 bytes take 20 ms, 1 are allowed")


def test_an_input_that_takes_much_memory_is_a_finding() -> None:
    """However short it is."""

    def run(data: bytes) -> None:
        bytearray(1 << 20 if data else 1)

    assert examine(_target(run, heap_kb=100), b"") is None
    finding = examine(_target(run, heap_kb=100), b"x")
    assert finding is not None
    assert "KB, 100 are allowed" in finding.error


@pytest.mark.parametrize("error", [ValueError("no"), RecursionError("deep")])
def test_any_error_is_a_finding(error: Exception) -> None:
    """A target names what may be raised; nothing else may."""

    def run(data: bytes) -> None:
        raise error

    finding = examine(_target(run), b"x")
    assert finding is not None
    assert type(error).__name__ in finding.error
