"""The npm packages of the tests, installed once beside their lock file.

What is locked is installed, with no package's own scripts. Where it cannot be had
(no node, no npm, no registry) the reason is a text to skip with.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "javascript"
OLDEST_NODE = 20
INSTALL_DEADLINE_S = 90
OUR_FAULTS = ("EINTEGRITY", "EUSAGE", "EJSONPARSE")
"""What npm calls a lock file that does not fit: no reason to skip."""


def why_no_node() -> str:
    """Why no script can run here, or nothing."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            return f"{tool} is not on PATH"
    version = _run("node", "--version").stdout.strip()
    number = version.removeprefix("v").split(".")[0]
    if not number.isdecimal() or int(number) < OLDEST_NODE:
        return f"node {version} is older than {OLDEST_NODE}"
    return ""


@cache
def why_no_packages() -> str:
    """Install what is locked unless it is; why that cannot be, or nothing.

    Raises `AssertionError` where the lock file is to blame.
    """
    if reason := why_no_node():
        return reason
    try:
        with (FOLDER / ".installing").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be at it
            return _install()
    except OSError as error:
        return f"{FOLDER} cannot be written: {error.strerror}"


def _install() -> str:
    stamp = FOLDER / "node_modules" / ".installed"
    locked = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == locked:
        return ""
    command = ("npm", "ci", "--ignore-scripts", "--fetch-retries=1")
    try:
        done = _run(*command, "--fetch-timeout=20000")
    except subprocess.TimeoutExpired:
        return f"npm ci did not end within {INSTALL_DEADLINE_S} s"
    if done.returncode == 0:
        stamp.write_text(locked)
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert not any(fault in done.stderr for fault in OUR_FAULTS), done.stderr
    return f"npm ci failed: {' '.join(lines[:2])}"


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=FOLDER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_DEADLINE_S,
        check=False,
    )
