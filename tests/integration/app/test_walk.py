"""The files that ARCHITECTURE names for a send are those that a send passes."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.walk import walk_through

ROOT = Path(__file__).parents[3]
MOST = 93
"""Modules that a send may pass: a new one has to be worth a place among them."""
_STEP = re.compile(
    r"^\| \d \w+ \| `([\w/]+\.py)`(?: \(or `(\w+\.py)`\))? \|", re.MULTILINE
)


def _named() -> list[str]:
    """The file of each step; where it names two, that of the embedded server."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    walk = text[text.index("## The walk of a send") :]
    steps = _STEP.findall(walk[: walk.index("\n## ", 5)])
    return [
        str(Path(path).with_name(other)) if other else path for path, other in steps
    ]


async def test_a_send_passes_the_files_of_its_walk() -> None:
    """Eight files in the page; none of them is left out, and few are beside them."""
    sent, subscribed = await walk_through("")
    names = _named()
    assert len(names) == 8
    assert [name for name in names if name not in sent.calls] == []
    assert sum(map(len, sent.rooms().values())) <= MOST
    assert "transports/websocket.py" in subscribed.calls
