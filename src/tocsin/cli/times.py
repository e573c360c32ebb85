"""How options of verbs name a time. It must stay cheap to import."""

from __future__ import annotations


def read_time(option: str, text: str | None, now_s: float) -> int:
    """Unix milliseconds of a time, or of a duration before now; 0 without one.

    Raises `ValueError` that names the option.
    """
    if text is None:
        return 0
    from datetime import UTC, datetime

    from tocsin.config.durations import parse_duration

    try:
        # A duration first: no time looks like one.
        return int((now_s - parse_duration(text)) * 1000)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return max(1, int(at.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{option}: must be a time such as 2026-11-28T06:00:00Z, or a duration"
            " such as 90m"
        ) from None


def show_time(at_ms: int) -> str:
    """A moment as people and tools read it, or a dash for none."""
    if not at_ms:
        return "-"
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
