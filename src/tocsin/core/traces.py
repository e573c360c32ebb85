"""Trace contexts as they travel (W3C Trace Context). Pure text reading."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_LATER = re.compile(r"-[ -~]*")
_SAMPLED = 1


def read_traceparent(text: str) -> str:
    """The context that somebody sent, as version 00; "" for what is none.

    A later version may have more behind it, which is dropped.
    """
    match = _TRACEPARENT.match(text)
    if match is None:
        return ""
    version, trace, span, flags = match.groups()
    rest = text[match.end() :]
    if rest and (version == "00" or not _LATER.fullmatch(rest)):
        return ""
    return f"00-{trace}-{span}-{flags}"


def write_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """A context as it travels."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def trace_id_of(traceparent: str) -> str:
    """The trace's name in a context that `read_traceparent` gave; "" of none."""
    return traceparent[3:35]


def span_id_of(traceparent: str) -> str:
    """The span's name in such a context; "" of none."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Whether its spans are recorded."""
    return bool(traceparent) and bool(int(traceparent[53:55], 16) & _SAMPLED)
