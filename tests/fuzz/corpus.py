"""The corpus: a folder of small files for each target, in which findings are kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def read_corpus(name: str, root: Path = CORPUS) -> dict[Path, bytes]:
    """The inputs of a target by file, in the order of their names."""
    return {path: path.read_bytes() for path in sorted((root / name).glob("*"))}


def keep(name: str, data: bytes, prefix: str, root: Path = CORPUS) -> Path:
    """Write an input, under a name made of its content."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path
