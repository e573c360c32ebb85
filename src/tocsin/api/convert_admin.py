"""API room: protobuf messages of `AdminApi` ⇄ core nouns.

Rules are checked in the services.
"""

from __future__ import annotations

from tocsin.core.dead_letters import LetterFilter, LetterHead
from tocsin.protocol import admin_pb2


def letter_filter_from(message: admin_pb2.DeadLetterFilter) -> LetterFilter:
    """Which dead letters are meant."""
    return LetterFilter(
        reasons=tuple(message.reasons),
        providers=tuple(message.providers),
        integrations=tuple(message.integrations),
        push_ids=tuple(message.push_ids),
        uids=tuple(message.uids),
        since_ms=message.since_ms,
        until_ms=message.until_ms,
    )


def summary_of(head: LetterHead) -> admin_pb2.DeadLetterSummary:
    """One letter in short."""
    return admin_pb2.DeadLetterSummary(
        id=head.id,
        reason=head.group,
        detail=head.reason,
        at_ms=head.at_ms,
        uid=head.uid,
        push_id=head.push_id,
        stage=head.stage,
        provider=head.provider,
        integration=head.credential,
        attempt=head.attempt,
        recipients=head.recipients,
    )
