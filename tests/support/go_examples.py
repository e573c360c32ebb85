"""The Go examples as somebody runs them who follows what stands at their heads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = Path("examples") / "clients"
MODULES = ("go", "go-publish")
_OFFLINE = re.compile(r"dial tcp|lookup |no such host|i/o timeout|connection refused")
_NEEDED = (1, 24)


def why_no_go() -> str:
    """Why no example can be run here, or nothing."""
    if not shutil.which("go"):
        return "go is not on PATH"
    said = subprocess.run(
        ["go", "env", "GOVERSION"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _NEEDED:
        return f"{said.strip()} is older than Go {_NEEDED[0]}.{_NEEDED[1]}"
    return ""


@dataclass(frozen=True)
class GoExample:
    """A copy of one example, with our schema beside it as in a checkout."""

    folder: Path
    path: str

    def go(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What `go` says, with this Python's protoc as the one of PATH."""
        return subprocess.run(
            ["go", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": self.path, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """What the example prints; it has to succeed."""
        done = self.go("run", ".", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def prepare(name: str, folder: Path) -> GoExample:
    """The example with its stubs made; skips where modules cannot be fetched."""
    if reason := why_no_go():
        pytest.skip(reason)
    checkout = folder / "checkout"
    example = checkout / CLIENTS / name
    shutil.copytree(ROOT / "proto", checkout / "proto")
    unwanted = shutil.ignore_patterns("bin", "apiproto")
    shutil.copytree(ROOT / CLIENTS / name, example, ignore=unwanted)
    shutil.copy(ROOT / CLIENTS / "go-stubs.sh", example.parent)
    tools = folder / "tools"
    tools.mkdir()
    protoc = tools / "protoc"
    protoc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o755)
    prepared = GoExample(example, f"{tools}{os.pathsep}{os.environ['PATH']}")
    fetched = prepared.go("mod", "download")
    if fetched.returncode and _OFFLINE.search(fetched.stderr):
        pytest.skip("Go modules cannot be fetched here")
    for done in (fetched, prepared.go("generate")):
        assert done.returncode == 0, done.stdout + done.stderr
    return prepared
