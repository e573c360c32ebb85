"""Sends and their accounts, one or many. Part of `admin`: it changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from tocsin.admin.credentials import CredentialService
from tocsin.admin.dead_letters import MAX_SCANNED, LetterGroup, group_letters
from tocsin.admin.halts import find_halts
from tocsin.admin.letter_search import LetterSearch
from tocsin.admin.send_states import (
    HALTED,
    STATES,
    Hold,
    SendView,
    breaker_holds,
    judge,
    open_routes,
    walks_of,
)
from tocsin.core.accounts import Account, Part
from tocsin.core.breaker import BODY_REFUSED, BREAKER_OPEN, Breaker
from tocsin.core.dead_letters import LetterFilter
from tocsin.core.errors import BadRequest, NotAvailable, NotFound
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import AccountReader
from tocsin.core.ports.send_log import OpenSend, SendLog, SendQuery
from tocsin.core.send_log import Progress, SendRecord, progress_of, sum_of
from tocsin.push import checks

DEFAULT_PAGE = 100
MAX_PAGE = 1000
_UID_LENGTH = 1024
_OPEN = tuple(each for each in Progress if not each.is_over)
_NO_LOG = (
    "no database is configured, so there is no send log; the queue knows the accounts"
    " of the last seven days, by push id"
)


@dataclass(frozen=True, slots=True)
class SendPage:
    """Some sends, newest first, and the cursor to go on from, empty after the last."""

    items: list[SendView]
    next_cursor: str = ""


@dataclass(frozen=True, slots=True)
class SendLife:
    """One send, and its dead letters by reason; `is_cut` if not all were looked at."""

    view: SendView
    letters: Sequence[LetterGroup] = ()
    is_cut: bool = False


class SendsService:
    """Over the send log, and what the queue and the workers share of open sends.

    `log` is `None` without a database, `accounts` where push is off. `search` finds
    dead letters. `breakers` and `credentials` tell what is stopped.
    """

    def __init__(
        self,
        log: SendLog | None,
        accounts: AccountReader | None,
        *,
        search: LetterSearch,
        credentials: CredentialService,
        breakers: BreakerStore | None,
        clock: Clock,
    ) -> None:
        self._given = log
        self._accounts = accounts
        self._search = search
        self._credentials = credentials
        self._breakers = breakers
        self._clock = clock

    async def get(self, *, uid: str = "", push_id: str = "") -> SendLife:
        """The life of one send, by its uid or its push id.

        Raises `BadRequest` unless one of them is given, `NotFound` if nothing is known.
        """
        if bool(uid) == bool(push_id):
            raise BadRequest("uid", "give a uid or a push id: one of them")
        field = "uid" if uid else "push_id"
        checks.check_text(field, uid or push_id, _UID_LENGTH)
        record = await self._find(uid, push_id)
        fresh = await self._fresh([record])
        record, account = _with(record, fresh, self._clock.now_ms())
        parts = account.parts
        groups, is_cut = [], False
        if parts[Part.DEAD.value] or account.walk_ends[Part.DEAD.value]:
            chosen = LetterFilter(push_ids=(record.push_id,))
            found = await self._search.page(
                chosen, "", limit=MAX_SCANNED, look_at=MAX_SCANNED
            )
            groups, is_cut = group_letters(found.items), bool(found.next_cursor)
        reasons = [each.reason for each in groups if _has_stopped(each.reason)]
        jobs = await self._first_jobs([record])
        view = await self._view(record, account, jobs, reasons, with_body=True)
        return SendLife(view, groups, is_cut)

    async def page(
        self,
        query: SendQuery,
        *,
        states: Sequence[str] = (),
        cursor: str = "",
        limit: int = 0,
    ) -> SendPage:
        """Sends that fit, newest first; `limit` 0 is 100, and 1,000 are the most.

        `states` are words of `STATES`. Halted ones are found among the others, so a
        page may be short, and not the last. Raises `BadRequest` naming the field.
        """
        checks.check_choices("states", states, STATES)
        checks.check_text("uid", query.uid, _UID_LENGTH) if query.uid else None
        check_page(query, cursor, limit)
        wanted = min(limit or DEFAULT_PAGE, MAX_PAGE)
        progress = {Progress(each) for each in states if each != HALTED}
        if HALTED in states:
            progress |= {*_OPEN, Progress.FINISHED}
        if progress & {*_OPEN}:
            progress |= {*_OPEN}  # the queue may know better than the row
        chosen = replace(
            query, progress=tuple(sorted(progress)), before=cursor, limit=wanted + 1
        )
        found = await self.log.list_sends(chosen)
        items = await self._views(found[:wanted])
        if states:
            items = [each for each in items if each.state in states]
        more = found[wanted - 1].push_id if len(found) > wanted else ""
        return SendPage(items, more)

    @property
    def log(self) -> SendLog:
        """The send log, or `NotAvailable`."""
        if self._given is None:
            raise NotAvailable(_NO_LOG)
        return self._given

    async def _find(self, uid: str, push_id: str) -> SendRecord:
        if self._given is not None:
            record = await self._given.fetch(uid=uid, push_id=push_id)
            if record is not None:
                return record
        # Without a log: a send whose caller gave no uid has one name for both.
        name = push_id or ("" if self._given is not None else uid)
        known = {}
        if self._accounts is not None and name:
            known = await self._accounts.find([name])
        if name in known:
            account = known[name]
            accounts = {account.generation: account}
            progress = progress_of(accounts, due_later=False)
            return SendRecord(name, uid, progress=progress, accounts=accounts)
        field = "uid" if uid else "push_id"
        why = f"{field}: no send has it, or it ended before push_notifications.send_log"
        why += ".keep"
        raise NotFound(why if self._given is not None else f"{field}: {_NO_LOG}")

    async def _views(self, records: Sequence[SendRecord]) -> list[SendView]:
        fresh, now_ms = await self._fresh(records), self._clock.now_ms()
        known = [_with(each, fresh, now_ms) for each in records]
        records = [record for record, _ in known]
        accounts = {record.push_id: account for record, account in known}
        dead = {id for id, each in accounts.items() if each.parts[Part.DEAD.value] > 0}
        reasons = await self._stopping_reasons(dead)
        breakers = await self._stopped()
        jobs = await self._first_jobs(records) if breakers else {}
        return [
            await self._view(
                each,
                accounts[each.push_id],
                jobs,
                reasons.get(each.push_id, ()),
                breakers=breakers,
            )
            for each in records
        ]

    async def _view(
        self,
        record: SendRecord,
        account: Account,
        jobs: Mapping[str, OpenSend],
        reasons: Sequence[str],
        *,
        breakers: Mapping[tuple[str, str], Breaker] | None = None,
        with_body: bool = False,
    ) -> SendView:
        first = jobs[record.push_id].jobs if record.push_id in jobs else ()
        if breakers is None:
            breakers = await self._stopped() if first else {}
        routes = open_routes(account, first)
        holds = breaker_holds(routes, breakers, self._clock.now_ms())
        if with_body and self._breakers is not None and not record.progress.is_over:
            halts = await find_halts(self._breakers, record.push_id)
            holds += [Hold("body", "", "", halt.reason(), halt.at_ms) for halt in halts]
        state, why = judge(record, account, holds, reasons)
        return SendView(record, state, why, account, holds, walks_of(account, first))

    async def _fresh(self, records: Sequence[SendRecord]) -> Mapping[str, Account]:
        """What the queue has of open sends, newer than the rows."""
        ids = [each.push_id for each in records if not each.progress.is_over]
        if self._accounts is None or not ids:
            return {}
        return await self._accounts.find(ids)

    async def _first_jobs(self, records: Sequence[SendRecord]) -> dict[str, OpenSend]:
        ids = [each.push_id for each in records if not each.progress.is_over]
        if self._given is None or not ids:
            return {}
        return {each.record.push_id: each for each in await self._given.find_open(ids)}

    async def _stopped(self) -> Mapping[tuple[str, str], Breaker]:
        return {} if self._breakers is None else await self._credentials.stopped()

    async def _stopping_reasons(self, ids: Collection[str]) -> dict[str, list[str]]:
        """Of these sends, the reasons of dead letters that were stopped."""
        if not ids:
            return {}
        chosen = LetterFilter(
            reasons=(BODY_REFUSED, BREAKER_OPEN), push_ids=tuple(sorted(ids))
        )
        found = await self._search.page(
            chosen, "", limit=MAX_SCANNED, look_at=MAX_SCANNED
        )
        reasons: dict[str, list[str]] = {}
        for head in found.items:
            known = reasons.setdefault(head.push_id, [])
            if head.group not in known:
                known.append(head.group)
        return reasons


def check_page(query: SendQuery, cursor: str, limit: int) -> None:
    """Raises `BadRequest` for bounds that cannot be."""
    for name in ("since_ms", "until_ms"):
        if getattr(query, name) < 0:
            raise BadRequest(name, "must not be negative")
    if limit < 0:
        raise BadRequest("limit", "must not be negative")
    if cursor:
        checks.check_text("cursor", cursor, _UID_LENGTH)


def _has_stopped(reason: str) -> bool:
    return reason.partition(": ")[0] in (BODY_REFUSED, BREAKER_OPEN)


def _with(
    record: SendRecord, fresh: Mapping[str, Account], now_ms: int
) -> tuple[SendRecord, Account]:
    """The send with what the queue says of it now, and all generations together."""
    told = fresh.get(record.push_id)
    if told is None or not told.generation:
        return record, record.account
    kept = {id: each for id, each in record.accounts.items() if not each.is_planned}
    accounts = {**kept, told.generation: told}
    progress = progress_of(accounts, due_later=record.due_at_ms > now_ms)
    account = sum_of(accounts.values(), ended=progress.is_over)
    return replace(record, progress=progress), account
