from __future__ import annotations

import pytest

from tocsin.core.analytics import (
    ONLINE_FIRST,
    RATE,
    SEND_AT,
    WINDOW,
    EventSum,
    Funnel,
    SendEvent,
    SendState,
    find_state,
)

NOW_MS = 1_800_000_000_000
LATER_MS = NOW_MS + 3_600_000
NOW, LATER = "2027-01-15 08:00:00 UTC", "2027-01-15 09:00:00 UTC"


def event(
    kind: SendEvent, *, reason: str = "", due_ms: int = 0, provider: str = "fcm"
) -> EventSum:
    return EventSum(kind, provider, reason, due_ms, NOW_MS)


SCHEDULED = event(SendEvent.SCHEDULED, reason=SEND_AT, due_ms=LATER_MS)
DUE = event(SendEvent.SCHEDULED, reason=SEND_AT, due_ms=NOW_MS)
ONLINE = event(SendEvent.SCHEDULED, reason=ONLINE_FIRST, due_ms=LATER_MS)
IN_WINDOW = event(SendEvent.WAITING, reason=WINDOW, due_ms=LATER_MS)
LIMITED = event(SendEvent.WAITING, reason=RATE, due_ms=LATER_MS)
UNMATCHED = event(SendEvent.UNMATCHED)
EXPIRED = event(SendEvent.EXPIRED)
CANCELLED = event(SendEvent.CANCELLED)


@pytest.mark.parametrize(
    ("events", "sent", "state"),
    [
        ((), 0, None),
        ((), 5, None),
        (
            (UNMATCHED, event(SendEvent.UNMATCHED, provider="apns")),
            0,
            ("unmatched", "reached nobody: the filter matched no device of apns, fcm"),
        ),
        ((UNMATCHED,), 5, None),
        ((SCHEDULED,), 0, ("scheduled", f"scheduled for {LATER}", LATER_MS)),
        ((DUE,), 0, ("due", f"was due at {NOW}, and has no result yet", NOW_MS)),
        ((DUE,), 5, None),
        ((DUE, UNMATCHED), 0, ("unmatched", "reached nobody: the filter matched no")),
        ((SCHEDULED, CANCELLED), 0, ("cancelled", f"cancelled at {NOW}")),
        ((CANCELLED,), 5, ("cancelled", "what had begun before was sent")),
        ((EXPIRED,), 0, ("expired", f"expired by {NOW}, nothing was sent")),
        ((EXPIRED,), 5, ("expired", "before all of it was sent")),
        ((ONLINE,), 0, ("waiting", f"waits until {LATER} for who is", LATER_MS)),
        ((IN_WINDOW,), 5, ("waiting", "for the time window", LATER_MS)),
        ((LIMITED, EXPIRED), 5, ("waiting", "for its rate limit", LATER_MS)),
        ((DUE, LIMITED), 0, ("waiting", "for its rate limit", LATER_MS)),
    ],
)
def test_what_the_numbers_do_not_say(
    events: tuple[EventSum, ...], sent: int, state: tuple[str, str, int] | None
) -> None:
    """A word, a sentence, and until when; nothing where the numbers say it all."""
    found = find_state(Funnel("u", sent=sent, events=events), NOW_MS)
    if state is None:
        assert found is None
        return
    word, words, *due = state
    assert isinstance(found, SendState)
    assert (found.state, found.due_ms) == (word, due[0] if due else 0)
    assert words in found.note


def test_a_time_beyond_the_calendar_is_told_all_the_same() -> None:
    """Whatever was accepted as a moment can be shown."""
    far = event(SendEvent.SCHEDULED, reason=SEND_AT, due_ms=10**18)
    found = find_state(Funnel("u", events=(far,)), NOW_MS)
    assert found is not None
    assert found.note == "scheduled for Unix second 1000000000000000"
