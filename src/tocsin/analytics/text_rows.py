"""Analytics room: rows as tab-separated text, which COPY and ClickHouse both read.

Pure; whatever a field holds, it comes out as one field of one line.
"""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.core.analytics import NotificationRow, SendEvent

EVENTS = ", ".join(f"'{event}'" for event in SendEvent)
"""The statuses of events, as both kinds of stores write a list in a statement."""

_FIELDS = len(NotificationRow._fields)
_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "\t": "\\t",
        "\n": "\\n",
        "\r": "\\r",
        # PostgreSQL can hold no NUL at all.
        "\0": None,
    }
)


def encode_rows(rows: Sequence[NotificationRow], *, in_seconds: bool) -> bytes:
    """A line a row; the time in Unix milliseconds, or in whole seconds.

    The plain way is taken for all rows and then looked over as one text: a
    field that needs escapes shows as a character too many.
    """
    unit = 1000 if in_seconds else 1
    text = "".join(
        [
            f"{a}\t{b}\t{c}\t{d}\t{e}\t{f}\t{g}\t{h}\t{i}\t{j}\t{k}\t{t // unit}\n"
            for a, b, c, d, e, f, g, h, i, j, k, t in rows
        ]
    )
    if (
        "\\" in text
        or "\0" in text
        or "\r" in text
        or text.count("\t") != (_FIELDS - 1) * len(rows)
        or text.count("\n") != len(rows)
    ):
        text = "".join([_escaped(row, unit) for row in rows])
    # A lone surrogate is no text for a database.
    return text.encode("utf-8", "replace")


def _escaped(row: NotificationRow, unit: int) -> str:
    *texts, time_ms = row
    fields = [str(text).translate(_ESCAPES) for text in texts]
    return "\t".join([*fields, str(time_ms // unit)]) + "\n"
