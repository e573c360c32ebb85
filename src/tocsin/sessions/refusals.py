"""Sessions room: the log lines about clients that were turned away.

It must not decide who is turned away, nor write a token or a client's data. Many such
clients at once cause few lines.
"""

from __future__ import annotations

import logging
from typing import Protocol

import structlog

from tocsin.core.client_codes import Disconnect
from tocsin.sessions.link import Traits
from tocsin.sessions.timers import TimerWheel

MOST_LINES = 10
"""In a window of `WINDOW_S`; the others are counted in one line at its end."""
WINDOW_S = 1.0
_MOST_TEXT = 200  # characters

_log = structlog.get_logger(__name__)


class TurnedAway(Protocol):
    """What a line tells of the client; `connected_at_ms` is 0 for one not let in."""

    client: str
    user: str
    traits: Traits
    connected_at_ms: int


def is_told(disconnect: Disconnect) -> bool:
    """Whether the end of a connection with this code is worth a line.

    After these codes an SDK does not reconnect by itself; lower ones are routine.
    """
    return 3500 <= disconnect.code < 3600


class RefusalLog:
    """Writes the lines of one process, at most `MOST_LINES` in each `WINDOW_S`."""

    __slots__ = ("_ends_at_s", "_left_out", "_wheel", "_written", "timer_slot")

    def __init__(self, wheel: TimerWheel) -> None:
        self._wheel = wheel
        self._ends_at_s = 0.0
        self._written = 0
        self._left_out = 0
        self.timer_slot = -1

    def end(
        self, connection: TurnedAway, code: int, reason: str, detail: str = ""
    ) -> None:
        """Log a refused client, or a connection that the server ends."""
        fields = {
            "transport": connection.traits.name,
            "client": connection.client,
            "code": code,
            "reason": reason,
        }
        if connection.user:
            fields["user"] = connection.user
        if detail:
            fields["detail"] = detail
        if connection.connected_at_ms:
            self._write("client disconnected", fields)
        else:
            self._write("client refused", fields)

    def refuse(
        self, transport: str, peer: str | None, *, code: int, reason: str, **more: str
    ) -> None:
        """Log a request that becomes no connection; `code` is that of its answer."""
        fields = {"transport": transport, "peer": peer, "code": code, "reason": reason}
        self._write("client refused", {**fields, **more})

    def _write(self, event: str, fields: dict[str, object]) -> None:
        if not _log.is_enabled_for(logging.INFO):
            return
        now_s = self._wheel.now()
        if now_s >= self._ends_at_s:
            self._tell_left_out()
            self._written = 0
            self._ends_at_s = now_s + WINDOW_S
        if self._written < MOST_LINES:
            self._written += 1
            _log.info(event, **fields)
            return
        self._left_out += 1
        self._wheel.put(self, self._ends_at_s)

    def on_timer(self, _now_s: float) -> None:
        """See `Timed`: the window is over."""
        self._tell_left_out()

    def _tell_left_out(self) -> None:
        if self._left_out:
            _log.info(
                "more clients were refused or disconnected than are told one by one",
                left_out=self._left_out,
            )
            self._left_out = 0


def log_error_reply(
    connection: TurnedAway, method: str, channel: str, code: int, *, detail: str
) -> None:
    """Log, at debug level, a command that was answered with an error."""
    if not _log.is_enabled_for(logging.DEBUG):
        return
    more = {"detail": detail} if detail else {}
    _log.debug(
        "command answered with an error",
        method=method,
        channel=channel,
        code=code,
        client=connection.client,
        user=connection.user,
        **more,
    )


def printable(text: str) -> str:
    """A client's text, cut and escaped for a log line or a plain-text answer."""
    return text[:_MOST_TEXT].encode("ascii", "backslashreplace").decode()
