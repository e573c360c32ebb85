"""Reads `rooms.toml`: which code is changed, and which tests shall notice."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = Path(__file__).with_name("rooms.toml")


@dataclass(frozen=True)
class Room:
    """Modules below `src/tocsin` and the files below `tests` that pin them.

    `only` is what `pytest -k` takes, where some tests need a server that is slow to
    start. `untouched` are patterns of lines that stay as they are, such as log lines.
    """

    name: str
    code: list[str]
    tests: list[str]
    only: str
    minutes: int
    untouched: list[str]

    @property
    def selection(self) -> list[str]:
        """What pytest is told to run."""
        chosen = ["-k", self.only] if self.only else []
        return [*chosen, *(f"tests/{path}" for path in self.tests)]

    def faults(self) -> list[str]:
        """What is named here and not there: whoever moves a module moves its name."""
        named = [f"src/tocsin/{path}" for path in self.code]
        named += [f"tests/{path.partition('::')[0]}" for path in self.tests]
        return [
            f"tests/mutants/rooms.toml: [{self.name}] names {path}, which is not there"
            for path in named
            if not (ROOT / path).exists()
        ]


def read_rooms() -> list[Room]:
    """All rooms, in the order of the file."""
    content = tomllib.loads(ROOMS.read_text())
    untouched = content.pop("untouched")
    return [
        Room(name=name, untouched=untouched, **{"only": "", **room})
        for name, room in content.items()
    ]
