"""Changes that the tests let pass, and the table of verdicts on them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.mutants.rooms import ROOT

README = ROOT / "tests" / "README.md"
_ROW = re.compile(r"^\| `(.+?)` `(.+?)` \| `(.+?)` \| (.+?) \|$")

Key = tuple[str, str, str]
"""Module below `src/tocsin`, function, and the change, as the table has them."""


@dataclass(frozen=True)
class Survivor:
    """One change that no test noticed."""

    key: Key

    def row(self) -> str:
        """Its row in the table, with the verdict to be written."""
        module, function, change = self.key
        return f"| `{module}` `{function}` | `{change}` | ? |"


def judged() -> dict[Key, str]:
    """The verdicts of the table, by what they are about."""
    rows = (_ROW.match(line) for line in README.read_text().splitlines())
    return {(row[1], row[2], row[3]): row[4] for row in rows if row}


def read_diff(name: str, shown: str) -> Survivor:
    """What mutmut shows of a mutant, as the table says it."""
    lines = shown.splitlines()
    path = next(line for line in lines if line.startswith("--- "))[4:]
    module = path.strip().removeprefix("src/tocsin/")
    old = [line[1:].strip() for line in lines if re.match(r"-(?!--)", line)]
    new = [line[1:].strip() for line in lines if re.match(r"\+(?!\+\+)", line)]
    change = f"{' '.join(old)} → {' '.join(new) or '(nothing)'}"
    return Survivor((module, _function(name), _cell(change)))


def _function(name: str) -> str:
    """`x_take__mutmut_3` is `take`; `xǁFeedǁjoin__mutmut_1` is `Feed.join`."""
    mangled = name.rpartition(".")[2].partition("__mutmut_")[0]
    return mangled.removeprefix("xǁ").removeprefix("x_").replace("ǁ", ".")


def _cell(change: str) -> str:
    return change.replace("`", "'").replace("|", "\\|")
