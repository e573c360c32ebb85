"""Processes whose wall clock can be set while they run, through libfaketime."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

NOTE = (
    "clock steps are left out: libfaketime is not installed"
    " (pip install libfaketime into .venv, or LIBFAKETIME=path of the library)"
)


@functools.cache
def find_library() -> str:
    """The library to preload; empty where there is none."""
    return next((str(path) for path in _candidates() if path.is_file()), "")


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("LIBFAKETIME"):
        yield Path(named)
    found = importlib.util.find_spec("libfaketime")
    if found is not None and found.origin is not None:
        yield from Path(found.origin).parent.glob("vendor/**/libfaketimeMT.so.1")
        yield from Path(found.origin).parent.glob("vendor/**/libfaketime.so.1")
    # Last: that of Debian 12 breaks `time.sleep`, which no process here lives by.
    yield from Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")


class SteppedClock:
    """The wall clock of one process, kept in a file that its library reads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step("+0 s")

    def step(self, by: str) -> None:
        """Set it `+7200 s` or so off the right time; durations stay right."""
        # In one write: the library may read at any moment.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(by.removesuffix(" s") + "s\n")
        fresh.rename(self._file)

    def environ(self) -> dict[str, str]:
        """What a process needs to go by this clock."""
        return {
            "LD_PRELOAD": find_library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
