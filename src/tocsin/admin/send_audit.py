"""Checks the accounts of sends, and compares open ones with the queue.

Part of `admin`: it goes from page to page, so any number of sends takes little memory,
and it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tocsin.admin.sends import SendsService, check_page
from tocsin.core.accounts import Account
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import AccountReader
from tocsin.core.ports.send_log import SendQuery
from tocsin.core.send_log import SendRecord, sum_of
from tocsin.push.repair import FIRST_CALL_MS

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
PAGE = 500
"""Sends that are read at once."""
PAST_EXPIRY_MS = 3_600_000
"""How long after its expiry a send may be open: a worker ends what it gets."""
LONG_WAIT_MS = 25 * 3_600_000
"""How long after it was due a send may be open, if it never expires: windows of a day,
and a credential that waits for a person, last as long as a day."""


class FindingKind(StrEnum):
    """What can be wrong with a send."""

    BROKEN = "broken"
    """Its account does not close."""
    MISSING = "missing"
    """It is open, and the queue has nothing of it."""
    STUCK = "stuck"
    """It is open, and should have ended long ago."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one send, and what a person can do."""

    uid: str
    push_id: str
    kind: FindingKind
    what: str
    todo: str


@dataclass(slots=True)
class AuditReport:
    """Findings among the sends that were looked at, and the cursor to go on from."""

    findings: list[Finding] = field(default_factory=list)
    checked: int = 0
    open: int = 0
    next_cursor: str = ""


class SendAudit:
    """Of one log and one queue; `accounts` is `None` where push is off.

    `repairs` says whether lost sends are queued again without their callers, and
    `wait_ms` how long work may wait for its credential.
    """

    def __init__(
        self,
        sends: SendsService,
        accounts: AccountReader | None,
        *,
        clock: Clock,
        repairs: bool = True,
        wait_ms: int = 0,
    ) -> None:
        self._sends = sends
        self._accounts = accounts
        self._clock = clock
        self._repairs = repairs
        self._wait_ms = max(LONG_WAIT_MS, wait_ms + PAST_EXPIRY_MS)

    async def look(
        self, query: SendQuery, *, cursor: str = "", limit: int = 0
    ) -> AuditReport:
        """Check sends from the cursor on, newest first.

        `limit` 0 is 1,000, and 10,000 are the most. Raises `BadRequest` naming the
        field.
        """
        check_page(query, cursor, limit)
        left = min(limit or DEFAULT_LIMIT, MAX_LIMIT)
        report = AuditReport(next_cursor=cursor)
        while left:
            wanted = min(PAGE, left)
            page = replace(query, before=report.next_cursor, limit=wanted)
            records = await self._sends.log.list_sends(page)
            await self._check(records, report)
            left -= len(records)
            if len(records) < wanted:
                report.next_cursor = ""
                return report
            report.next_cursor = records[-1].push_id
        return report

    async def _check(self, records: Sequence[SendRecord], report: AuditReport) -> None:
        report.checked += len(records)
        open = {each.push_id: each for each in records if not each.progress.is_over}
        report.open += len(open)
        told = await self._ask_queue(list(open))
        # Read after the queue was asked: what it has forgotten has ended in its row.
        gone = [push_id for push_id in open if push_id not in told]
        still = {
            each.record.push_id: each.record
            for each in await self._sends.log.find_open(gone)
        }
        for record in records:
            push_id = record.push_id
            if push_id in told:
                finding = self._judge_open(record, told[push_id])
            elif push_id in still:
                finding = self._judge_missing(still[push_id])
            else:
                ended = open.get(push_id) is None
                finding = _find_broken(record, record.account) if ended else None
            if finding is not None:
                report.findings.append(finding)

    async def _ask_queue(self, push_ids: Sequence[str]) -> Mapping[str, Account]:
        if self._accounts is None or not push_ids:
            return {}
        return await self._accounts.find(push_ids)

    def _judge_open(self, record: SendRecord, told: Account) -> Finding | None:
        kept = {id: each for id, each in record.accounts.items() if not each.is_planned}
        accounts = {**kept, told.generation: told}
        ended = all(each.ended for each in accounts.values())
        broken = _find_broken(record, sum_of(accounts.values(), ended=ended))
        if broken is not None:
            return broken
        now_ms = self._clock.now_ms()
        since_ms = max(record.accepted_at_ms, record.due_at_ms)
        is_late = now_ms - since_ms > self._wait_ms
        if record.expire_at_ms and record.expire_at_ms >= since_ms:
            since_ms = record.expire_at_ms
            is_late = now_ms - since_ms > PAST_EXPIRY_MS
        if not is_late or told.ended:
            return None
        name = "expired" if since_ms == record.expire_at_ms else "due"
        what = f"is open {(now_ms - since_ms) // 60_000} minutes after it was {name}"
        todo = (
            "see that a worker with its lane runs, and what holds it:"
            " `tocsin send show`, `tocsin credentials`, `tocsin queue status`"
        )
        return Finding(record.uid, record.push_id, FindingKind.STUCK, what, todo)

    def _judge_missing(self, record: SendRecord) -> Finding | None:
        broken = _find_broken(record, record.account)
        if broken is not None:
            return broken
        age_ms = self._clock.now_ms() - record.accepted_at_ms
        if not record.accounts and age_ms < FIRST_CALL_MS:
            return None  # its call may be about to queue it
        what = "is open, and the queue has nothing of it"
        todo = (
            "a server or worker queues it again within minutes; if it stays, see that"
            " one runs, and whether the queue was moved (`tocsin queue drain`)"
            if self._repairs
            else "repair is set to report: repeat its uid, or set"
            " push_notifications.send_log.repair to resume"
        )
        return Finding(record.uid, record.push_id, FindingKind.MISSING, what, todo)


def _find_broken(record: SendRecord, account: Account) -> Finding | None:
    fault = account.find_fault()
    if not fault:
        return None
    if account.unread:
        fault += f" ({account.unread} entries could not be read)"
    todo = "keep its dead letters and its log lines, and report it"
    return Finding(record.uid, record.push_id, FindingKind.BROKEN, fault, todo)
