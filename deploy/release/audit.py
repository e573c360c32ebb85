"""Asks whether pinned packages have known vulnerabilities, by pip-audit.

It needs a network. What could not be asked is said, and is never taken for sound.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 300
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Audit:
    """`vulnerable` are findings; `unasked` is what could not be asked, or empty."""

    vulnerable: tuple[str, ...] = ()
    unasked: str = ""


def audit(lock: Path) -> Audit:
    """Ask about all pins of the file."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock)]
    command += ["--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            [*command, "--format", "json"],
            capture_output=True,
            check=False,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Audit(unasked=f"pip-audit did not end: {type(error).__name__}")
    return read_report(done.stdout, done.stderr)


def read_report(report: str, errors: str) -> Audit:
    """What pip-audit's JSON says; without one, the last line of its errors."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (errors.strip().splitlines() or ["no report"])[-1]
        return Audit(unasked=last[:200])
    found = [
        f"{one['name']} {one['version']}: {fault['id']}"
        f"{_cure(fault.get('fix_versions') or ())}"
        for one in packages
        for fault in one.get("vulns") or ()
    ]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if not skipped:
        return Audit(tuple(found))
    shown = ", ".join(skipped[:_SHOWN])
    more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    unasked = f"{len(skipped)} of {len(packages)} packages: {shown}{more}"
    return Audit(tuple(found), unasked)


def _cure(versions: Sequence[str]) -> str:
    return f", mended in {' or '.join(versions)}" if versions else ""
