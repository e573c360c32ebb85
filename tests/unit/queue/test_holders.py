"""Names of processes."""

from __future__ import annotations

import os
import re

from tocsin.queue.holders import new_holder_name


def test_names_never_repeat() -> None:
    """Also the same process on the same host gets a new one each time."""
    assert len({new_holder_name() for _ in range(100)}) == 100


def test_name_tells_its_process() -> None:
    """Host and process id can be read off, and nothing needs quoting."""
    name = new_holder_name()
    assert f"-{os.getpid()}-" in name
    assert re.fullmatch(r"[\w.-]{1,80}", name)
