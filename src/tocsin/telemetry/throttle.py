"""Bounds the log lines that strangers can cause. Part of `telemetry`.

It must not decide what is worth a line, only how often.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

WINDOW_S = 10.0


class Logger(Protocol):
    """What structlog gives a module."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Write a line."""
        ...

    def info(self, event: str, **fields: Any) -> Any:
        """Write a line."""
        ...

    def error(self, event: str, **fields: Any) -> Any:
        """Write a line."""
        ...


@dataclass(slots=True)
class _Window:
    loop: asyncio.AbstractEventLoop
    level: str
    left_out: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


class LineThrottle:
    """Writes lines of one module whose number strangers decide.

    The first line of a kind is written at once. Further ones within `window_s` are only
    counted; then one line says how many there were (`times`), with the fields of the
    last. Kinds are few and chosen by the caller, never by a stranger. Without a running
    event loop every line is written.
    """

    def __init__(self, log: Logger, *, window_s: float = WINDOW_S) -> None:
        self._log = log
        self._window_s = window_s
        self._windows: dict[tuple[str, str], _Window] = {}

    def warning(self, event: str, *, kind: str = "", **fields: Any) -> None:
        """A line of level warning; event and `kind` say what it is counted with."""
        self._write("warning", event, kind, fields)

    def info(self, event: str, *, kind: str = "", **fields: Any) -> None:
        """A line of level info."""
        self._write("info", event, kind, fields)

    def error(self, event: str, *, kind: str = "", **fields: Any) -> None:
        """A line of level error; only the first of a window shows its traceback."""
        self._write("error", event, kind, fields)

    def _write(self, level: str, event: str, kind: str, fields: dict[str, Any]) -> None:
        key = (event, kind)
        window = self._windows.get(key)
        loop = _running_loop()
        # A window of a loop that has ended would never be closed, so its lines
        # would be lost.
        if window is not None and window.loop is loop:
            window.left_out += 1
            # Without the traceback, which the first line has shown.
            window.fields = {k: v for k, v in fields.items() if k != "exc_info"}
            return
        getattr(self._log, level)(event, **fields)
        if loop is not None:
            self._open(key, level, loop)

    def _open(
        self, key: tuple[str, str], level: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        window = self._windows[key] = _Window(loop, level)
        loop.call_later(self._window_s, self._end, key, window)

    def _end(self, key: tuple[str, str], window: _Window) -> None:
        if self._windows.get(key) is not window:
            return  # that of a loop that has ended
        del self._windows[key]
        if not window.left_out:
            return
        more = {"times": window.left_out, "within_s": self._window_s}
        getattr(self._log, window.level)(key[0], **window.fields, **more)
        self._open(key, window.level, window.loop)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
