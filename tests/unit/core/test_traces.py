from __future__ import annotations

import pytest

from tocsin.core.traces import (
    is_sampled,
    read_traceparent,
    span_id_of,
    trace_id_of,
    write_traceparent,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_context_is_read_and_taken_apart() -> None:
    """As the standard writes it."""
    assert read_traceparent(GOOD) == GOOD
    assert (trace_id_of(GOOD), span_id_of(GOOD)) == (TRACE, SPAN)
    assert is_sampled(GOOD)
    assert not is_sampled(f"00-{TRACE}-{SPAN}-00")
    assert write_traceparent(int(TRACE, 16), int(SPAN, 16), 1) == GOOD
    assert (trace_id_of(""), span_id_of(""), is_sampled("")) == ("", "", False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", GOOD.upper(), GOOD[:-1], f"{GOOD}0", f"{GOOD}-more", f" {GOOD}"),
        *(f"ff{GOOD[2:]}", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"),
        *(f"01{GOOD[2:]}x", f"01{GOOD[2:]}-\n", f"{GOOD}\n"),
    ],
)
def test_what_is_no_context_begins_a_trace_anew(text: str) -> None:
    """A caller that sends rubbish is served all the same."""
    assert read_traceparent(text) == ""


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """The standard promises the first four parts for ever."""
    assert read_traceparent(f"01{GOOD[2:]}-what the future holds") == GOOD
    assert read_traceparent(f"cc{GOOD[2:]}") == GOOD
