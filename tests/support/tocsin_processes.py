"""The command line as processes of their own: started, killed, restarted, drained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

COMMAND = [sys.executable, "-m", "tocsin.cli.main"]
DEADLINE_S = 60.0


def wait_until(
    condition: Callable[[], Any], *, deadline_s: float = DEADLINE_S, what: str = ""
) -> Any:
    """Poll until the condition is true; returns its value."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what or condition}")


def fetch(url: str, *, timeout_s: float = 3.0) -> tuple[int, str]:
    """Status and text of a GET; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@dataclass
class Processes:
    """All processes of one test; whatever still runs is killed at its end."""

    directory: Path
    children: list[Process] = field(default_factory=list)

    def start(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        clock_off_s: float = 0.0,
        program: str = "",
    ) -> Process:
        """Run `tocsin` with these arguments, in the test's folder.

        Its wall clock may be wrong by so much. `program` is a module of the tests that
        stands in its place.
        """
        command = COMMAND
        root = str(Path(__file__).parents[2])
        if program:
            environ = {**(environ or {}), "PYTHONPATH": root}
            command = [sys.executable, "-m", program]
        if clock_off_s:
            environ = {**(environ or {}), "PYTHONPATH": root}
            command = [sys.executable, "-m", "tests.support.wrong_clock"]
            command.append(str(clock_off_s))
        log = self.directory / f"{arguments[0]}-{len(self.children)}.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")}
        with log.open("wb") as out:
            child = subprocess.Popen(
                [*command, *arguments],
                cwd=self.directory,
                stdout=out,
                stderr=out,
                env={**env, **(environ or {})},
            )
        process = Process(child, log)
        self.children.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.children:
            process.kill()
            if error is not None:
                print(f"--- {process.log.name}\n{process.text()[-4000:]}")


@dataclass
class Process:
    """One `tocsin` process and what it wrote."""

    child: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.child.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """The JSON log lines so far."""
        lines = self.text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_ready(self, port: int) -> Self:
        """Wait until `/ready` of that port says so."""

        def ready() -> bool:
            assert self.child.poll() is None, self.text()
            return fetch(f"http://127.0.0.1:{port}/ready")[0] == 200

        wait_until(ready, what=f"{self.log.name} ready")
        return self

    def wait_event(self, event: str) -> Self:
        """Wait for a log line."""

        def seen() -> bool:
            assert self.child.poll() is None, self.text()
            return any(line["event"] == event for line in self.events())

        wait_until(seen, what=f"{self.log.name}: {event}")
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()

    def terminate(self, *, deadline_s: float = DEADLINE_S) -> int:
        """SIGTERM; returns the exit code after the drain."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(deadline_s)

    def wait_exit(self, *, deadline_s: float = DEADLINE_S) -> int:
        """The exit code of a process that ends by itself."""
        return self.child.wait(deadline_s)
