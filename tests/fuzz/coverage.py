"""Which lines of the package an input reaches, for the fuzzer to be guided by."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Protocol

_OURS = "/tocsin/"


class Coverage(Protocol):
    """Knows what has been reached so far."""

    def is_new(self, run: Callable[[], None]) -> bool:
        """Run it; whether it reached something for the first time."""


class TracedCoverage:
    """By `sys.settrace`: pairs of lines that follow each other. Slow, and everywhere.

    Tells paths through the same lines apart.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[CodeType, int, int]] = set()
        self._found = False

    def is_new(self, run: Callable[[], None]) -> bool:
        """See `Coverage`."""
        self._found = False
        with _tracing(self._enter):
            run()
        return self._found

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        if _OURS not in code.co_filename:
            return None
        seen = self._seen
        last = 0

        def note(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                pair = (code, last, line)
                if pair not in seen:
                    seen.add(pair)
                    self._found = True
                last = line
            return note

        return note


@contextlib.contextmanager
def _tracing(enter: Any) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


class MonitoredCoverage:
    """By `sys.monitoring` (Python 3.12): lines, each told once, so it costs nothing."""

    def __init__(self) -> None:
        self._monitoring: Any = vars(sys)["monitoring"]
        self._found = False
        tool = self._monitoring.COVERAGE_ID
        self._monitoring.use_tool_id(tool, "tocsin fuzzer")
        events = self._monitoring.events
        self._monitoring.register_callback(tool, events.LINE, self._note)
        self._monitoring.set_events(tool, events.LINE)

    def is_new(self, run: Callable[[], None]) -> bool:
        """See `Coverage`."""
        self._found = False
        run()
        return self._found

    def _note(self, code: CodeType, _line: int) -> Any:
        if _OURS in code.co_filename:
            self._found = True
        return self._monitoring.DISABLE


def open_coverage() -> Coverage:
    """The cheapest that this Python has."""
    if hasattr(sys, "monitoring") and sys.monitoring.get_tool(1) is None:
        return MonitoredCoverage()
    return TracedCoverage()
