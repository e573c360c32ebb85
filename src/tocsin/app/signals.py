"""The signals of a process, from its first moment to its last; knows no event loop.

A signal that comes before anybody takes signals waits. It must stay cheap to import:
what is not handled yet ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

FAILED = 1
STOPS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGQUIT")
    if hasattr(signal, name)
)
"""They ask for an orderly end; the second one ends the process at once."""
HANDLED = STOPS + tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""All that would end a process that has no handler, and that may come by custom."""

Take = Callable[[int], None]
"""Hears the number of a signal, in the main thread and between any two steps."""


class Inbox:
    """Keeps the signals of this process until somebody takes them."""

    def __init__(self) -> None:
        self._replaced: dict[int, object] = {}
        self._waiting: list[int] = []
        self._take: Take | None = None

    @property
    def is_installed(self) -> bool:
        """Whether signals come here."""
        return bool(self._replaced)

    def install(self) -> None:
        """From now on; in another thread than the main one nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in HANDLED:
            if number not in self._replaced:
                self._replaced[number] = signal.getsignal(number)
                signal.signal(number, self._receive)

    def uninstall(self) -> None:
        """Handle signals as before `install`; those that wait are forgotten."""
        for number, handler in self._replaced.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # it came from there
        self._replaced.clear()
        self._waiting.clear()

    def leave_to_python(self) -> bool:
        """For a verb with nothing to drain: a stop ends it at once, SIGHUP does not.

        Returns whether a stop came before.
        """
        for number in STOPS:
            if number in self._replaced:
                default = signal.default_int_handler
                is_int = number == signal.SIGINT
                signal.signal(number, default if is_int else signal.SIG_DFL)
        return any(number in STOPS for number in self._waiting)

    def ignore(self) -> None:
        """For the last steps of a process, when its exit code is decided.

        Python restores the default handlers then, and a signal would end the process
        with another code.
        """
        for number in self._replaced:
            signal.signal(number, signal.SIG_IGN)

    def open(self, take: Take) -> None:
        """Give all that wait, and all that come, to `take`."""
        self._take = take
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            take(number)

    def close(self) -> None:
        """What comes from now on waits again."""
        self._take = None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._take is not None:
            self._take(number)
            return
        # As after the start, the second stop ends the process at once.
        if number in STOPS and any(each in STOPS for each in self._waiting):
            os._exit(FAILED)
        self._waiting.append(number)


INBOX = Inbox()
"""That of this process; it has only one set of handlers."""
