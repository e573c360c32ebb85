"""The send log in memory, for tests of the rooms around it.

It keeps the contract of the databases (`tests/contracts/test_send_log.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from tocsin.core.accounts import Account, Part
from tocsin.core.errors import Conflict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.send_log import OpenSend, SendQuery
from tocsin.core.ports.sends import UID_TAKEN
from tocsin.core.send_log import (
    Accepting,
    Progress,
    SendRecord,
    Taken,
    progress_of,
)


@dataclass
class _Row:
    accepting: Accepting
    record: SendRecord
    seen: bool = False
    fence: int = 0


@dataclass
class _Claim:
    push_id: str
    fingerprint: bytes
    accepted: bool
    epoch: str
    expires_at_ms: int


@dataclass
class MemoryLogData:
    """What all processes share; copied, it is a backup."""

    rows: dict[str, _Row] = field(default_factory=dict)
    claims: dict[str, _Claim] = field(default_factory=dict)
    owner: str = ""
    until_ms: int = 0
    fence: int = 0


async def _nothing(_: str) -> None:
    return


class MemorySendLog:
    """`SendLog` and `SendSource` over data that others may share.

    `begin` is called with the name of each method before it does anything.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        data: MemoryLogData | None = None,
        begin: Callable[[str], Awaitable[None]] = _nothing,
    ) -> None:
        self.data = MemoryLogData() if data is None else data
        self._clock = clock
        self._begin = begin

    async def accept(self, accepting: Accepting) -> Taken:
        await self._begin("accept")
        record, data = accepting.record, self.data
        if accepting.fingerprint is not None:
            now_ms = self._clock.now_ms()
            claim = data.claims.get(record.uid)
            if claim is not None and claim.expires_at_ms > now_ms:
                if claim.fingerprint != accepting.fingerprint:
                    raise Conflict(UID_TAKEN)
                row = data.rows.get(claim.push_id)
                progress = None if row is None else row.record.progress
                return Taken(
                    claim.push_id, False, progress, claim.accepted, claim.epoch
                )
            data.claims[record.uid] = _Claim(
                record.push_id,
                accepting.fingerprint,
                True,
                record.epoch,
                now_ms + int(accepting.uid_ttl_s * 1000),
            )
        data.rows[record.push_id] = _Row(accepting, record)
        return Taken(record.push_id, True, record.progress, True, record.epoch)

    async def accept_again(self, accepting: Accepting) -> None:
        await self._begin("accept_again")
        record = accepting.record
        row = self.data.rows.get(record.push_id)
        if row is None or row.record.progress is Progress.REFUSED:
            self.data.rows[record.push_id] = _Row(accepting, record)
        claim = self.data.claims.get(record.uid)
        if claim is not None and claim.push_id == record.push_id:
            claim.accepted, claim.epoch = True, record.epoch

    async def refuse(self, push_id: str) -> None:
        await self._begin("refuse")
        row = self.data.rows.get(push_id)
        if row is None or row.seen or row.record.progress.is_over:
            return
        row.record = replace(
            row.record, progress=Progress.REFUSED, ended_at_ms=self._clock.now_ms()
        )
        claim = self.data.claims.get(row.record.uid)
        if claim is not None and claim.push_id == push_id:
            claim.accepted = False

    async def find_open(self, push_ids: Sequence[str]) -> list[OpenSend]:
        await self._begin("find_open")
        rows = [self.data.rows[id] for id in push_ids if id in self.data.rows]
        return [
            OpenSend(_copy(row), row.accepting.payload, row.accepting.jobs)
            for row in rows
            if not row.record.progress.is_over
        ]

    async def plan_repair(
        self,
        push_id: str,
        *,
        seen: Mapping[str, int],
        accounts: Mapping[str, Account],
        epoch: str,
        note: str = "",
    ) -> bool:
        await self._begin("plan_repair")
        row = self.data.rows.get(push_id)
        if row is None or row.record.progress.is_over:
            return False
        standing = row.record.accounts.items()
        if {name: each.version for name, each in standing} != dict(seen):
            return False
        row.seen, row.fence = False, self.data.fence + 1
        is_new = bool(accounts.keys() - row.record.accounts.keys())
        row.record = replace(
            row.record,
            accounts=deepcopy(dict(accounts)),
            epoch=epoch,
            repairs=row.record.repairs + is_new,
            note=note,
        )
        if all(each.ended for each in accounts.values()):
            row.record = replace(
                row.record,
                progress=progress_of(accounts, due_later=False),
                ended_at_ms=self._clock.now_ms(),
            )
        return True

    async def hold(self, owner: str, *, ttl_s: float) -> int | None:
        await self._begin("hold")
        data, now_ms = self.data, self._clock.now_ms()
        if data.owner not in ("", owner) and data.until_ms > now_ms:
            return None
        data.owner, data.until_ms = owner, now_ms + int(ttl_s * 1000)
        data.fence += 1
        return data.fence

    async def raise_fence(self, fence: int) -> None:
        await self._begin("raise_fence")
        self.data.fence = max(self.data.fence, fence)

    async def write_accounts(
        self, accounts: Mapping[str, Account], *, fence: int, epoch: str
    ) -> bool:
        await self._begin("write_accounts")
        rows = {id: self.data.rows[id] for id in accounts if id in self.data.rows}
        if any(row.fence > fence for row in rows.values()):
            return False
        now_ms = self._clock.now_ms()
        for push_id, row in rows.items():
            account = deepcopy(accounts[push_id])
            standing = row.record.accounts.items()
            of_send = {id: each for id, each in standing if not each.is_planned}
            of_send[account.generation] = account
            far = progress_of(of_send, due_later=row.record.due_at_ms > now_ms)
            row.seen, row.fence = True, fence
            row.record = replace(
                row.record,
                accounts=of_send,
                progress=far,
                ended_at_ms=now_ms if far.is_over else 0,
                epoch=epoch or row.record.epoch,
            )
        return True

    async def fetch_unseen(self, *, before_ms: int, limit: int) -> list[str]:
        await self._begin("fetch_unseen")
        found = [
            row.record
            for row in self._open()
            if not row.seen and row.record.accepted_at_ms <= before_ms
        ]
        found.sort(key=lambda record: record.accepted_at_ms)
        return [record.push_id for record in found[:limit]]

    async def fetch_open(self, *, after: str, limit: int) -> list[str]:
        await self._begin("fetch_open")
        found = sorted(row.record.push_id for row in self._open())
        return [push_id for push_id in found if push_id > after][:limit]

    async def end_unknown(self, push_ids: Sequence[str], *, note: str) -> int:
        await self._begin("end_unknown")
        rows = [row for row in self._open() if row.record.push_id in push_ids]
        for row in rows:
            accounts = deepcopy(dict(row.record.accounts))
            for account in accounts.values():
                account.parts += Counter({Part.UNCONFIRMED.value: account.open})
                account.units, account.walks, account.ended = {}, {}, True
            row.record = replace(
                row.record,
                accounts=accounts,
                progress=Progress.FINISHED,
                ended_at_ms=self._clock.now_ms(),
                note=note,
            )
        return len(rows)

    async def purge(self, *, before_ms: int, limit: int) -> int:
        await self._begin("purge")
        over = [
            push_id
            for push_id, row in self.data.rows.items()
            if 0 < row.record.ended_at_ms <= before_ms
        ][:limit]
        for push_id in over:
            del self.data.rows[push_id]
        return len(over)

    async def fetch(self, *, uid: str = "", push_id: str = "") -> SendRecord | None:
        await self._begin("fetch")
        found = [
            row
            for row in self.data.rows.values()
            if (row.record.push_id == push_id if push_id else row.record.uid == uid)
        ]
        found.sort(key=lambda row: row.record.accepted_at_ms)
        return _copy(found[-1]) if found else None

    async def list_sends(self, query: SendQuery) -> list[SendRecord]:
        await self._begin("list_sends")
        rows = sorted(
            self.data.rows.values(),
            key=lambda row: (row.record.accepted_at_ms, row.record.push_id),
            reverse=True,
        )
        if query.before:
            names = [row.record.push_id for row in rows]
            rows = (
                rows[names.index(query.before) + 1 :] if query.before in names else []
            )
        found = [_copy(row) for row in rows]
        return [
            record
            for record in found
            if (not query.uid or record.uid == query.uid)
            and (not query.progress or record.progress in query.progress)
            and record.accepted_at_ms >= query.since_ms
            and (not query.until_ms or record.accepted_at_ms < query.until_ms)
        ][: query.limit]

    async def count_open(self) -> int:
        await self._begin("count_open")
        return len(self._open())

    def _open(self) -> list[_Row]:
        return [
            row for row in self.data.rows.values() if not row.record.progress.is_over
        ]


def _copy(row: _Row) -> SendRecord:
    return replace(row.record, accounts=deepcopy(dict(row.record.accounts)))
