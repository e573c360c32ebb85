"""`make dist`: sdist, wheel, SBOM, audit and checksums, in `dist/`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.release.audit import Audit, audit
from deploy.release.sbom import build_sbom, read_lock

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-runtime.lock"
_SDK = ROOT / "src" / "tocsin" / "transports" / "demo_page" / "centrifuge.js"


def main(arguments: Sequence[str]) -> int:
    """Make all; 1 for a known vulnerability, 3 for a required audit not made."""
    parser = argparse.ArgumentParser(prog="make dist", description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "dist")
    parser.add_argument("--audit", choices=("try", "required", "no"), default="try")
    asked = parser.parse_args(arguments)
    made_at = _made_at()
    files = _build(asked.to, made_at)
    version = files[0].name.split("-")[1]
    sbom = asked.to / f"tocsin-{version}.cdx.json"
    pins = read_lock(LOCK.read_text())
    document = build_sbom(pins, version=version, made_at=made_at, bundled=_bundled())
    sbom.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    _write_sums([*files, sbom], asked.to / "SHA256SUMS")
    if asked.audit == "no":
        return 0
    return _tell(audit(LOCK), required=asked.audit == "required")


def _made_at() -> int:
    """Unix seconds to stamp files with: given, or those of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout else 0


def _build(folder: Path, made_at: int) -> list[Path]:
    """Wheel and sdist: the same source and time make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("tocsin-*"):
        old.unlink()
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(made_at or 315_532_800)}
    subprocess.run(command, cwd=ROOT, check=True, env=environment)
    return [*folder.glob("tocsin-*.whl"), *folder.glob("tocsin-*.tar.gz")]


def _bundled() -> dict[str, str]:
    """The SDK that the demo page brings: no package of ours asks for it."""
    return {"pkg:npm/centrifuge": hashlib.sha256(_SDK.read_bytes()).hexdigest()}


def _write_sums(files: Sequence[Path], to: Path) -> None:
    """As `sha256sum` writes them, so that `sha256sum -c` reads them."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(files)
    ]
    to.write_text("".join(lines))
    print("".join(lines), end="")


def _tell(found: Audit, *, required: bool) -> int:
    for one in found.vulnerable:
        print(f"VULNERABLE {one}")
    if found.unasked:
        print(f"NOT AUDITED {found.unasked}")
        print("  run it again where the index of vulnerabilities can be reached")
    elif not found.vulnerable:
        print("audited: no known vulnerability")
    if found.vulnerable:
        return 1
    return 3 if found.unasked and required else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
