"""Analytics room: rows as tab-separated text, which COPY and ClickHouse both read.

Pure. Whatever characters a field holds, it becomes one field of one line.
"""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.core.analytics import NotificationRow, SendEvent

EVENTS = ", ".join(f"'{event}'" for event in SendEvent)
"""The statuses of events, as a list for SQL statements of all stores."""

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
    """One line for each row; the time in Unix milliseconds, or in whole seconds.

    All rows are written without escapes first, since few fields need any. Then the
    whole text is checked at once: a field that needs escapes shows as a character
    that is not expected. Only then every row is written again with escapes.
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
    # A lone surrogate has no UTF-8 form, and no database takes it.
    return text.encode("utf-8", "replace")


def _escaped(row: NotificationRow, unit: int) -> str:
    *texts, time_ms = row
    fields = [str(text).translate(_ESCAPES) for text in texts]
    return "\t".join([*fields, str(time_ms // unit)]) + "\n"
