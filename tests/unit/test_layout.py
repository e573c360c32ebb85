"""Where unit tests stand: each file names by its path the module it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = sorted(path.relative_to(HERE) for path in HERE.rglob("test_*.py"))
OTHER_CODE = {
    "benchmarks": ROOT / "benchmarks",
    "fuzz": ROOT / "tests" / "fuzz",
    "mutants": ROOT / "tests" / "mutants",
    "release": ROOT / "deploy" / "release",
}
"""Code beside the package that has unit tests too."""
BESIDE = {"documents"}
"""Folders that mirror none: what is written, held against the code."""


def modules_in(folder: Path) -> list[str]:
    sources = OTHER_CODE.get(folder.name, ROOT / "src" / "tocsin" / folder)
    return [path.stem for path in sources.glob("*.py")]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_names_its_module(file: Path) -> None:
    """`test_x.py`, or `test_x_<topic>.py`, stands in the room of an existing `x.py`."""
    name = file.stem.removeprefix("test_")
    if file == Path("test_layout.py") or file.parent.name in BESIDE:
        return
    modules = modules_in(file.parent)
    assert any(name == each or name.startswith(f"{each}_") for each in modules), (
        f"tests/unit/{file.parent} has no module for {file.name}; CONTRIBUTING.md says"
        " where which test belongs"
    )
