"""Reads `rooms.toml`: which code is changed, and which tests shall notice."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = Path(__file__).with_name("rooms.toml")


@dataclass(frozen=True)
class Room:
    """Modules below `src/tocsin` and the files below `tests` that pin them.

    A module may be followed by the one class or function that is meant, as pytest
    names tests: `http2/connecting.py::Backoff`. `only` is what `pytest -k` takes, where
    some tests need a server that is slow to start. `untouched` are patterns of lines
    that stay as they are, such as log lines.
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

    @property
    def modules(self) -> list[str]:
        """The modules, below `src/tocsin`, that are changed in whole or in part."""
        return list(dict.fromkeys(path.partition("::")[0] for path in self.code))

    def changes(self, module: str, function: str) -> bool:
        """Whether this function (`take`, `Feed.join`) is meant."""
        owner = function.partition(".")[0]
        return module in self.code or f"{module}::{owner}" in self.code

    def patterns(self) -> list[str]:
        """What mutmut calls the changes that are meant; `*` stands for any text."""
        found = []
        for path in self.code:
            module, _, name = path.partition("::")
            dotted = "tocsin." + module.removesuffix(".py").replace("/", ".")
            if name:
                found += [f"{dotted}.xǁ{name}ǁ*", f"{dotted}.x_{name}__mutmut_*"]
            else:
                found.append(f"{dotted}.x*")
        return found

    def faults(self) -> list[str]:
        """What is named here and not there: whoever moves a module moves its name."""
        named = [f"src/tocsin/{path}" for path in self.code]
        named += [f"tests/{path.partition('::')[0]}" for path in self.tests]
        return [
            f"tests/mutants/rooms.toml: [{self.name}] names {path}, which is not there"
            for path in named
            if not _is_there(path)
        ]


def _is_there(path: str) -> bool:
    module, _, name = path.partition("::")
    if not (ROOT / module).exists():
        return False
    defined = re.compile(rf"^(class|(async )?def) {re.escape(name)}\b", re.MULTILINE)
    return not name or bool(defined.search((ROOT / module).read_text()))


def read_rooms() -> list[Room]:
    """All rooms, in the order of the file."""
    content = tomllib.loads(ROOMS.read_text())
    untouched = content.pop("untouched")
    return [
        Room(name=name, untouched=untouched, **{"only": "", **room})
        for name, room in content.items()
    ]
