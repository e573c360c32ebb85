"""API room: sends as operators see them → protobuf messages of `AdminApi`."""

from __future__ import annotations

from tocsin.admin.send_audit import Finding
from tocsin.admin.send_states import Hold, SendView, WalkAt
from tocsin.core.accounts import Account, Part
from tocsin.protocol import admin_pb2


def send_of(view: SendView) -> admin_pb2.Send:
    """A send with its account."""
    record = view.record
    return admin_pb2.Send(
        uid=record.uid,
        push_id=record.push_id,
        state=view.state,
        why=view.why,
        recipient_type=record.recipient,
        priority=record.priority,
        analytics_uid=record.analytics_uid,
        request_id=record.correlation_id,
        trace_id=record.trace_id,
        accepted_at_ms=record.accepted_at_ms,
        due_at_ms=record.due_at_ms,
        expire_at_ms=record.expire_at_ms,
        ended_at_ms=record.ended_at_ms,
        account=_account_of(view.account),
        repairs=record.repairs,
        fault=view.fault,
    )


def walk_of(walk: WalkAt) -> admin_pb2.SendWalk:
    """Where a walk is."""
    return admin_pb2.SendWalk(
        provider=walk.provider,
        integration=walk.integration,
        page=walk.page,
        after_device=walk.after,
        until_device=walk.until,
    )


def hold_of(hold: Hold) -> admin_pb2.SendHold:
    """What a send waits for."""
    return admin_pb2.SendHold(
        kind=hold.kind,
        provider=hold.provider,
        integration=hold.integration,
        reason=hold.reason,
        since_ms=hold.since_ms,
        until_ms=hold.until_ms,
    )


def finding_of(finding: Finding) -> admin_pb2.SendFinding:
    """What is wrong with a send."""
    return admin_pb2.SendFinding(
        uid=finding.uid,
        push_id=finding.push_id,
        kind=finding.kind.value,
        what=finding.what,
        todo=finding.todo,
    )


def _account_of(account: Account) -> admin_pb2.SendAccount:
    parts = account.parts
    return admin_pb2.SendAccount(
        matched=account.matched,
        delivered=parts[Part.DELIVERED.value],
        unconfirmed=parts[Part.UNCONFIRMED.value],
        removed=parts[Part.REMOVED.value],
        expired=parts[Part.EXPIRED.value],
        cancelled=parts[Part.CANCELLED.value],
        dropped=parts[Part.DROPPED.value],
        reached_online=parts[Part.ONLINE.value],
        dead_lettered=parts[Part.DEAD.value],
        open=account.open,
        unread=account.unread,
    )
