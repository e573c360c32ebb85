"""Warns a server that another one is at work on the same SQLite file.

A warning only: a supervisor may let an old process and its successor overlap.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TextIO

import structlog

from tocsin.config import Config

SUFFIX = ".serve"
"""Beside the file and not on it: SQLite loses its own locks when a second
descriptor of its file is closed."""
_ATTEMPTS = 50
_PAUSE_S = 0.01

_log = structlog.get_logger(__name__)


async def warn_of_another(config: Config, stack: AsyncExitStack) -> None:
    """Say so if a server is there already; be seen by others until `stack` is left.

    The lock goes with the process, whatever ends it.
    """
    if config.database.kind != "sqlite" or sys.platform == "win32":
        return
    path = config.database.sqlite.path
    try:
        file = _open(path)
    except OSError as error:
        _log.debug("servers on one file cannot be noticed", reason=str(error))
        return
    stack.callback(file.close)
    if await _is_alone(file):
        return
    shared = file.name.removesuffix(SUFFIX)
    _log.warning(
        f"another `tocsin serve` is at work on {shared}: clients of one do not hear"
        " what is published on the other, and limits count for each alone; for several"
        " servers use PostgreSQL and Redis"
    )


def _open(path: str) -> TextIO:
    return open(
        Path(path + SUFFIX).absolute(), "a", encoding="ascii", opener=_open_private
    )


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


async def _is_alone(file: TextIO) -> bool:
    """Whether nobody else was there; from now on others see this process."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_alone = True
    except OSError:
        is_alone = False
    # Now a shared lock: a third server then notices the second, even if the first has
    # ended.
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # another one is between its two steps
            await asyncio.sleep(_PAUSE_S)
        else:
            break
    return is_alone
