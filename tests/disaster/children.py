"""The `tocsin` processes of a run: ended, paused, and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.children import ending_with_parent
from tests.support.tocsin_processes import COMMAND

_SUPERVISED_S = 0.5


class Child:
    """One process under its name, started as often as need be; one log for all."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        environ: Mapping[str, str],
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = ending_with_parent([*COMMAND, *arguments])
        self._directory = directory
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
        self._environ = {**kept, **environ}
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at = 0.0
        self.is_wanted = False
        self.num_started = 0
        self.crashes: list[str] = []

    def start(self) -> None:
        """Run it; whoever starts it has to be the main thread, and to outlive it."""
        self.is_wanted = True
        self.num_started += 1
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environ,
            )

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tell(self, number: signal.Signals) -> None:
        """Send it, if there is anybody."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def end(self, how: signal.Signals) -> None:
        """SIGKILL, or SIGTERM without waiting for the drain."""
        self.is_wanted = False
        self.tell(how)
        if how == signal.SIGKILL and self._process is not None:
            self._process.wait()

    def wait_ended(self, timeout_s: float) -> None:
        """Wait for a drain, and kill what drains longer."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
            return
        self.crashes.append(f"{self.name} did not end {timeout_s:g} s after SIGTERM")
        self.end(signal.SIGKILL)

    def supervise(self) -> None:
        """Start it again where it ended by itself, as a supervisor does."""
        if not self.is_wanted or self.is_running or self._process is None:
            return
        now = time.monotonic()
        if not self._ended_at:
            self._ended_at = now
            code = self._process.returncode
            # 1 is how it says that a store is away at its start.
            if code != 1:
                self.crashes.append(f"{self.name} ended by itself with {code}")
        elif now - self._ended_at > _SUPERVISED_S:
            self._ended_at = 0.0
            self.start()
