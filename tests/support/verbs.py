"""Verbs of the command line that end by themselves, run as processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.tocsin_processes import COMMAND

CLEAN = {
    name: text
    for name, text in os.environ.items()
    if not name.startswith(("TOCSIN_", "CENTRIFUGO_"))
}
"""The environment without what would configure Tocsin."""


def run_verb(
    folder: Path,
    *arguments: str,
    start: Sequence[str] = (),
    timeout_s: float = 60,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run `tocsin` with these arguments in `folder`, by `start`, and wait for it."""
    return subprocess.run(
        [*start, *COMMAND, *arguments],
        cwd=folder,
        env=CLEAN | variables,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
