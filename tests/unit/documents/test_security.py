"""SECURITY.md names the files that keep its promises; they are where it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_every_file_that_is_named_is_there() -> None:
    """Whoever moves a defence moves its name."""
    named = set(re.findall(r"`([a-z_0-9/-]+(?:/|\.py|\.lock))`", TEXT)) - {"dist/"}
    assert len(named) > 30
    places = (ROOT, ROOT / "src" / "tocsin")
    missing = {
        name for name in named if not any((place / name).exists() for place in places)
    }
    assert not missing
