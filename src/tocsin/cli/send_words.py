"""Sends in words for a tired person, and as plain values for JSON. It asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tocsin.admin.send_states import HALTED, Hold, SendView
from tocsin.admin.sends import SendLife
from tocsin.cli.times import show_time
from tocsin.core.accounts import Account, Part
from tocsin.core.analytics import NotificationRow

NAMES = {part: part.value.replace("_", "-") for part in Part} | {
    Part.ONLINE: "reached online"
}
"""The parts of an account as users read them."""
_MEANINGS = {
    Part.DELIVERED: "the provider took it",
    Part.UNCONFIRMED: "may have been sent; the answer never came",
    Part.REMOVED: "the provider called the token dead or wrong",
    Part.EXPIRED: "its time ran out",
    Part.CANCELLED: "taken back before it was due",
    Part.DROPPED: "left out by a rule of the send",
    Part.ONLINE: "got it through a channel instead",
    Part.DEAD: "given up; can be replayed",
}


def line_of(view: SendView) -> str:
    """A send in one line."""
    record, account = view.record, view.account
    parts = [
        show_time(record.accepted_at_ms),
        f"{view.state:9}",
        f"uid {_in_line(record.uid) or '-'}",
        f"push {record.push_id}",
        record.recipient or "-",
        f"matched {account.matched}",
        f"delivered {account.parts[Part.DELIVERED.value]}",
        f"open {account.open}",
    ]
    if dead := account.parts[Part.DEAD.value]:
        parts.append(f"dead-lettered {dead}")
    if view.why:
        parts.append(_in_line(view.why))
    return "  ".join(parts)


def life_lines(life: SendLife) -> Iterator[str]:
    """The life of one send."""
    view = life.view
    record = view.record
    yield f"uid        {_in_line(record.uid) or 'unknown'}"
    yield f"push id    {record.push_id}"
    why = f": {_in_line(view.why)}" if view.why else ""
    yield f"state      {view.state}{why}"
    about = [record.recipient or "unknown recipient"]
    about += [f"priority {record.priority}"] if record.priority else []
    yield f"to         {', '.join(about)}"
    for name, text in (
        ("request", record.correlation_id),
        ("trace", record.trace_id),
        ("analytics", record.analytics_uid),
    ):
        if text:
            yield f"{name:10} {_in_line(text)}"
    for name, at_ms in (
        ("accepted", record.accepted_at_ms),
        ("due", record.due_at_ms),
        ("expires", record.expire_at_ms),
        ("ended", record.ended_at_ms),
    ):
        if at_ms:
            yield f"{name:10} {show_time(at_ms)}"
    if record.repairs:
        yield f"repaired   {record.repairs} times: the queue had lost work of it"
    yield from _account_lines(view.account)
    yield from _work_lines(life)
    yield from _next_steps(life)


def _account_lines(account: Account) -> Iterator[str]:
    yield f"{account.matched:>10}  matched so far"
    for part in Part:
        if count := account.parts[part.value]:
            yield f"{count:>10}  {NAMES[part]}: {_MEANINGS[part]}"
    if account.open:
        units = len(account.units)
        yield f"{account.open:>10}  open, in {units} batches and pages"
    for end, count in account.walk_ends.items():
        yield f"{count:>10}  walks over a filter ended early: {end}"
    if account.unread:
        yield f"{account.unread:>10}  entries went to the dead letters unread"
    fault = account.find_fault()
    yield (
        f"BROKEN     the account does not close: {fault}"
        if fault
        else ("account    closes")
    )


def _work_lines(life: SendLife) -> Iterator[str]:
    for walk in life.view.walks:
        after = walk.after or "the beginning"
        until = f" up to {walk.until}" if walk.until else ""
        where = f"{walk.provider} {walk.integration}".strip() or "unknown"
        yield f"walk       {where}: page {walk.page}, after device {after}{until}"
    for hold in life.view.holds:
        yield f"held       {_hold_words(hold)}"
    for group in life.letters:
        yield (
            f"dead       {group.letters} letters, {group.recipients} recipients,"
            f" {group.provider} {group.integration}: {_in_line(group.reason)}"
            f" (such as {group.example_id})"
        )
    if life.is_cut:
        yield "dead       there may be more: not all dead letters were looked at"


def _hold_words(hold: Hold) -> str:
    since = f"since {show_time(hold.since_ms)}"
    if hold.kind == "body":
        return f"by its body, {since}: {_in_line(hold.reason)}"
    until = "until" if hold.is_throttle else "next probe"
    return (
        f"by credential {hold.integration} of {hold.provider}, {since}, {until}"
        f" {show_time(hold.until_ms)}: {_in_line(hold.reason)}"
    )


def _next_steps(life: SendLife) -> Iterator[str]:
    view = life.view
    push_id = view.record.push_id
    if any(hold.kind == "breaker" and not hold.is_throttle for hold in view.holds):
        yield (
            "do         mend that credential: what waits is sent then;"
            " `tocsin credentials` tells of it, `credentials probe NAME` tries it"
        )
    if life.letters and view.state == HALTED:
        yield (
            "do         mend what was refused, then `tocsin queue replay --push-id"
            f" {push_id}`, for a body with --with-body FILE"
        )
    elif life.letters:
        yield f"do         `tocsin queue replay --push-id {push_id}` sends them again"
    if view.fault:
        yield "do         keep its dead letters and its log lines, and report it"


def device_lines(device: str, rows: Sequence[NotificationRow] | None) -> Iterator[str]:
    """What is known of the push to one device."""
    if rows is None:
        yield "device     no results are kept: analytics is off"
        return
    if not rows:
        yield f"device     nothing is known of {_in_line(device)} in this send"
    for row in rows:
        said = " ".join(filter(None, (row.error_code, row.error_message)))
        parts = [
            show_time(row.time_ms),
            row.provider or "app",
            row.status,
            *([f"id {_in_line(row.msg_id)}"] if row.msg_id else []),
            *([_in_line(said)] if said else []),
        ]
        yield f"device     {'  '.join(parts)}"


def view_data(view: SendView) -> dict[str, Any]:
    """A send as plain values, with the names of the RPC."""
    record, account = view.record, view.account
    parts = {part.value: account.parts[part.value] for part in Part}
    parts["reached_online"] = parts.pop(Part.ONLINE.value)
    return {
        "uid": record.uid,
        "push_id": record.push_id,
        "state": view.state,
        "why": view.why,
        "recipient_type": record.recipient,
        "priority": record.priority,
        "analytics_uid": record.analytics_uid,
        "request_id": record.correlation_id,
        "trace_id": record.trace_id,
        "accepted_at_ms": record.accepted_at_ms,
        "due_at_ms": record.due_at_ms,
        "expire_at_ms": record.expire_at_ms,
        "ended_at_ms": record.ended_at_ms,
        "account": {
            "matched": account.matched,
            **parts,
            "open": account.open,
            "unread": account.unread,
        },
        "repairs": record.repairs,
        "fault": view.fault,
    }


def life_data(life: SendLife) -> dict[str, Any]:
    """The life of a send as plain values."""
    view = life.view
    return {
        **view_data(view),
        "walks": [
            {
                "provider": walk.provider,
                "integration": walk.integration,
                "page": walk.page,
                "after_device": walk.after,
                "until_device": walk.until,
            }
            for walk in view.walks
        ],
        "open_units": len(view.account.units),
        "holds": [
            {
                "kind": hold.kind,
                "provider": hold.provider,
                "integration": hold.integration,
                "reason": hold.reason,
                "since_ms": hold.since_ms,
                "until_ms": hold.until_ms,
            }
            for hold in view.holds
        ],
        "dead_letters": [
            {
                "reason": group.reason,
                "provider": group.provider,
                "integration": group.integration,
                "letters": group.letters,
                "recipients": group.recipients,
            }
            for group in life.letters
        ],
        "dead_letters_cut": life.is_cut,
    }


def _in_line(text: str) -> str:
    """What a caller chose, without what would move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)
