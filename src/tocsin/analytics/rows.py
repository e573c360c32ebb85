"""Analytics room: a worker's results as rows. Pure; no token leaves it whole."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from tocsin.core.analytics import NotificationRow, PushStatus
from tocsin.core.outcome import Result, Verdict
from tocsin.core.push import Payload, SendJob, TargetKind
from tocsin.core.push_services import SERVICES

ERROR_LENGTH = 300
"""Characters kept of a provider's own words."""

_MARK_LENGTH = 16
_SENT, _FAILED = PushStatus.SENT.value, PushStatus.FAILED.value
_DELIVERED = Verdict.DELIVERED


def mark_of_token(token: str) -> str:
    """What stands for a token: enough to find its rows, nothing to push with.

    The first 16 hex digits of its SHA-256, so that whoever has the token can
    look for it: `printf %s TOKEN | sha256sum | cut -c1-16`.
    """
    return sha256(token.encode("utf-8", "replace")).hexdigest()[:_MARK_LENGTH]


def rows_of(
    job: SendJob, payload: Payload, results: Sequence[Result]
) -> list[NotificationRow]:
    """One row a result, in order."""
    recipients = job.work.recipients
    uid = payload.analytics_uid or payload.uid
    provider, kind = job.provider, job.recipient_type.value
    # By column: tens of thousands of rows are made each second, see `Recipients`.
    targets, ids = recipients.targets, recipients.device_ids
    platforms, users = recipients.platforms, recipients.users
    is_token = job.work.kind is TargetKind.TOKEN
    stored = SERVICES.tokens_of(provider).stored
    rows = []
    for index, outcome, at_ms in results:
        target = targets[index]
        if is_token:
            target = mark_of_token(stored(target))
        sent = outcome.verdict is _DELIVERED
        rows.append(
            NotificationRow(
                uid,
                provider,
                kind,
                target,
                ids[index] if ids else "",
                platforms[index] if platforms else "",
                users[index] if users else "",
                outcome.message_id,
                _SENT if sent else _FAILED,
                "" if sent else outcome.detail[:ERROR_LENGTH],
                "" if sent else outcome.code or outcome.verdict.value,
                at_ms,
            )
        )
    return rows
