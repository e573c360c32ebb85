"""Tables and verdicts as Markdown. It measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def verdicts(rows: Iterable[dict[str, Any]]) -> str:
    """What was wanted and whether it was reached, one a line."""
    lines = []
    for row in rows:
        mark = "reached" if row["reached"] else "**missed**"
        lines.append(
            f"- {row['what']}: {row['is']:,.2f} (wanted {row['wanted']}): {mark}"
        )
    return "\n".join(lines)
