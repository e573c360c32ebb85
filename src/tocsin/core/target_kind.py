"""What a target is, apart from the jobs that carry it: declarations need no more."""

from __future__ import annotations

from enum import StrEnum


class TargetKind(StrEnum):
    """What the strings of a batch are."""

    TOKEN = "token"
    TOPIC = "topic"
    CONDITION = "condition"
