"""A real PgBouncer in front of a test's PostgreSQL, as a child process.

It is looked for on PATH and in /usr/sbin; tests are skipped where it is absent.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.children import ending_with_parent
from tests.support.ports import free_port

_START_DEADLINE_S = 15.0


def find_pgbouncer() -> str | None:
    """Its program, or `None`."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@contextmanager
def running_pgbouncer(
    directory: Path, dsn: str, *, pool_mode: str = "transaction", pool_size: int = 3
) -> Iterator[str]:
    """The dsn that leads to the same database through a pool of so many servers."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    target, port = urlsplit(dsn), free_port()
    name = target.path.lstrip("/")
    settings = directory / "pgbouncer.ini"
    settings.write_text(
        "[databases]\n"
        f"{name} = host={target.hostname} port={target.port} dbname={name}"
        f" user={target.username}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {pool_mode}\n"
        f"default_pool_size = {pool_size}\nmax_client_conn = 500\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    settings.chmod(0o644)
    process = subprocess.Popen(
        ending_with_parent([*_as_nobody(), program, "-q", str(settings)]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _wait_for(port, process)
        yield f"postgresql://{target.username}@127.0.0.1:{port}/{name}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def _as_nobody() -> list[str]:
    """It refuses root, as PostgreSQL does."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed, and pgbouncer refuses root")
    nobody = pwd.getpwnam("nobody")
    groups = f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"
    return [setpriv, *groups, "--pdeathsig=KILL"]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("pgbouncer did not start to listen")
