"""`SendLog` on SQL: a row for each send, written before its work is queued.

Part of the storage room; it must not know what a queue does with the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.accounts import Account, Part, account_data, account_of
from tocsin.core.errors import ApiError, Conflict
from tocsin.core.ids import send_ids_from
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.send_log import OpenSend, SendQuery
from tocsin.core.ports.sends import UID_TAKEN
from tocsin.core.results import ResultEvent, end_of_send
from tocsin.core.send_log import (
    Accepting,
    Progress,
    SendRecord,
    Taken,
    progress_of,
    sum_of,
)
from tocsin.protocol.job_codec import encode_accepted, parse_accepted
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.errors import DatabaseUnavailable
from tocsin.storage.group_commit import GroupCommit
from tocsin.storage.results import SqlResultStore
from tocsin.storage.tables import push_keeper, push_sends, push_uids
from tocsin.storage.uids import take_uid

_MS_PER_S = 1000
_SKEW_MS = 3_600_000
"""By so much the clock that a push id was made by may be off that of the queue."""
_table = push_sends.c
_OPEN: ColumnElement[bool] = literal_column("ended_at_ms = 0")
"""As text, so that planners use the partial indexes."""

_NEXT_FENCE = func.coalesce(
    select(push_keeper.c.fence + 1).scalar_subquery(), literal_column("1")
)
"""Above what the keeper has, until it holds the log again."""

_RECORD = (
    "push_id",
    "uid",
    "accepted_at_ms",
    "due_at_ms",
    "expire_at_ms",
    "ended_at_ms",
    "epoch",
    "repairs",
    "note",
)
"""Columns that are fields of `SendRecord` as they are."""
GATHER_S = 0.002
"""How long a group of sends gathers while several calls are under way."""
_ABOUT = ("analytics_uid", "correlation_id", "trace_id", "recipient", "priority")
"""Fields of `SendRecord` in the column `about`."""
_SHOWN = [column for column in _table if column.name != "work"]
"""What readers get: the work may be long, and lists are."""
_ARRAYS = {
    **dict.fromkeys(("push_id", "uid", "progress", "epoch", "about"), "text"),
    **dict.fromkeys(
        ("accepted_at_ms", "due_at_ms", "expire_at_ms", "ended_at_ms"), "int8"
    ),
    "work": "bytea",
    "accounts": "text",
}
_FRESH = {"note": "''", "repairs": "0", "seen": "false", "fence": "0"}
"""What every new row has in its other columns."""
_INSERT = text(
    f"INSERT INTO push_sends ({', '.join((*_ARRAYS, *_FRESH))})"  # noqa: S608 - names of our own
    f" SELECT *, {', '.join(_FRESH.values())} FROM unnest("
    + ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _ARRAYS.items())
    + ")"
)
"""All rows of a group as one statement: a third of the time of one for each. Columns
that are the same in all of them are not sent, since each value is turned into text."""
_FIRST_WRITE = text(
    """
    UPDATE push_sends SET
        accounts = told.account, progress = told.how_far, ended_at_ms = told.over_at,
        work = CASE WHEN told.over_at > 0 THEN CAST('' AS bytea) ELSE work END,
        seen = true, fence = :fence,
        epoch = CASE WHEN :epoch = '' THEN epoch ELSE :epoch END
    FROM unnest(
        CAST(:push_id AS text[]), CAST(:account AS text[]), CAST(:how_far AS text[]),
        CAST(:over_at AS int8[])
    ) AS told(push_id, account, how_far, over_at)
    WHERE push_sends.push_id = told.push_id AND accounts = '{}'
        AND fence <= :fence AND due_at_ms <= :now_ms
    RETURNING push_sends.push_id
    """
)
"""The first accounts of sends that are due: most of them are the last, too."""


class _KeeperReplaced(Exception):
    """A later keeper has written, so nothing of this one is."""


class SqlSendLog:
    """The log in PostgreSQL or SQLite.

    Sends that arrive together are written together, at most `group_limit` at once.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        group_limit: int = 200,
        results: SqlResultStore | None = None,
    ) -> None:
        """`results` is told of each send that is over, in the same transaction."""
        self._results = results
        self._database = database
        self._clock = clock
        self._accepting: GroupCommit[Accepting, Taken | ApiError] = GroupCommit(
            self._accept_group,
            spawn=database.spawn,
            hits_all=lambda error: isinstance(error, DatabaseUnavailable),
            limit=group_limit,
            gather_s=GATHER_S,
        )

    # --- SendAcceptor ---

    async def accept(self, accepting: Accepting) -> Taken:
        """See `SendAcceptor.accept`."""
        taken = await self._accepting.submit(accepting)
        if isinstance(taken, ApiError):
            raise taken
        return taken

    async def accept_again(self, accepting: Accepting) -> None:
        """See `SendAcceptor.accept_again`."""
        row = _row_of(accepting)

        async def work(connection: AsyncConnection) -> None:
            again = inserting(push_sends, connection.dialect.name).values(row)
            written = await connection.execute(
                again.on_conflict_do_update(
                    index_elements=["push_id"],
                    set_={name: again.excluded[name] for name in row},
                    where=_table.progress == Progress.REFUSED.value,
                ).returning(_table.push_id)
            )
            is_new = written.first() is not None
            await _set_claim(connection, accepting.record, accepted=True)
            if self._results is not None and is_new:
                over[:] = _ends_of([accepting], self._clock.now_ms())
                await self._results.add_with(connection, over)

        over: list[ResultEvent] = []
        await self._database.write(work)
        self._tell(over)

    async def refuse(self, push_id: str) -> None:
        """See `SendAcceptor.refuse`."""

        async def work(connection: AsyncConnection) -> None:
            refused = await connection.execute(
                update(push_sends)
                .where(_table.push_id == push_id, _OPEN, _table.seen.is_(False))
                .values(
                    progress=Progress.REFUSED.value,
                    ended_at_ms=self._clock.now_ms(),
                )
                .returning(_table.uid)
            )
            uid = refused.scalar()
            if uid is not None:
                await connection.execute(
                    update(push_uids)
                    .where(push_uids.c.uid == uid, push_uids.c.push_id == push_id)
                    .values(accepted=False)
                )

        await self._database.write(work)

    async def find_open(self, push_ids: Sequence[str]) -> list[OpenSend]:
        """See `SendAcceptor.find_open`."""
        if not push_ids:
            return []
        statement = select(push_sends).where(_table.push_id.in_(push_ids), _OPEN)
        rows = await self._fetch(statement)
        return [
            OpenSend(_record_of(row), *parse_accepted(bytes(row.work))) for row in rows
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
        """See `SendAcceptor.plan_repair`."""

        async def work(connection: AsyncConnection) -> bool:
            found = await connection.execute(
                select(
                    *(_table.accounts, _table.ended_at_ms, _table.repairs),
                    *(_table.push_id, _table.uid, _table.about),
                )
                .where(_table.push_id == push_id)
                .with_for_update()
            )
            row = found.first()
            if row is None or row.ended_at_ms:
                return False
            standing = _parse_accounts(row.accounts)
            if {name: each.version for name, each in standing.items()} != dict(seen):
                return False
            values = {
                "accounts": _encode_accounts(accounts),
                "epoch": epoch,
                # A plan that could not be queued, and is made again, counts once.
                "repairs": row.repairs + bool(accounts.keys() - standing.keys()),
                "note": note,
                # Until the queue tells of it: a crash may come before it is queued.
                "seen": False,
                "fence": _NEXT_FENCE,
            }
            if all(each.ended for each in accounts.values()):
                far = progress_of(accounts, due_later=False).value
                now_ms = self._clock.now_ms()
                values |= {"progress": far, "ended_at_ms": now_ms, "work": b""}
            await connection.execute(
                update(push_sends).where(_table.push_id == push_id).values(values)
            )
            if self._results is not None and "ended_at_ms" in values:
                far = progress_of(accounts, due_later=False)
                over[:] = [_end_event(row, accounts, far, values["ended_at_ms"])]
                await self._results.add_with(connection, over)
            return True

        over: list[ResultEvent] = []
        planned = await self._database.write(work)
        self._tell(over)
        return planned

    # --- SendLog ---

    async def hold(self, owner: str, *, ttl_s: float) -> int | None:
        """See `SendLog.hold`."""
        now_ms = self._clock.now_ms()
        until_ms = now_ms + int(ttl_s * _MS_PER_S)

        async def work(connection: AsyncConnection) -> int | None:
            first = inserting(push_keeper, connection.dialect.name).values(
                one=1, owner=owner, until_ms=until_ms, fence=1
            )
            held = await connection.execute(
                first.on_conflict_do_update(
                    index_elements=["one"],
                    set_={
                        "owner": owner,
                        "until_ms": until_ms,
                        "fence": push_keeper.c.fence + 1,
                    },
                    where=(push_keeper.c.until_ms <= now_ms)
                    | (push_keeper.c.owner == owner),
                ).returning(push_keeper.c.fence)
            )
            fence = held.scalar()
            return None if fence is None else int(fence)

        return await self._database.write(work)

    async def raise_fence(self, fence: int) -> None:
        """See `SendLog.raise_fence`."""
        await self._database.write(
            lambda connection: connection.execute(
                update(push_keeper)
                .where(push_keeper.c.fence < fence)
                .values(fence=fence)
            )
        )

    async def write_accounts(
        self, accounts: Mapping[str, Account], *, fence: int, epoch: str
    ) -> bool:
        """See `SendLog.write_accounts`."""
        if not accounts:
            return True
        now_ms = self._clock.now_ms()
        standing = (
            select(
                *(_table.push_id, _table.accounts, _table.due_at_ms, _table.fence),
                *(_table.ended_at_ms, _table.uid, _table.about),
            )
            .where(_table.push_id.in_(bindparam("push_ids", expanding=True)))
            .order_by(_table.push_id)
            .with_for_update()
        )
        write = (
            update(push_sends)
            .where(_table.push_id == bindparam("of_push"))
            .values(
                accounts=bindparam("told"),
                progress=bindparam("how_far"),
                ended_at_ms=bindparam("over_at_ms"),
                work=case((bindparam("drop"), b""), else_=_table.work),
                seen=True,
                fence=fence,
                # Where its work is now: a move of the queue has brought it there.
                epoch=epoch or _table.epoch,
            )
        )

        first = _first_writes(accounts, now_ms) | {"fence": fence, "epoch": epoch}

        left = set(accounts)
        over: list[ResultEvent] = []
        if self._database.dialect == "postgresql" and self._results is None:
            left -= await self._database.write_alone(
                lambda one: _write_first(one, first)
            )
        if not left:
            return True

        async def work(connection: AsyncConnection) -> bool:
            rows: list[dict[str, Any]] = []
            over.clear()
            for row in await connection.execute(standing, {"push_ids": sorted(left)}):
                if row.fence > fence:
                    raise _KeeperReplaced
                account = accounts[row.push_id]
                of_send = {
                    name: each
                    for name, each in _parse_accounts(row.accounts).items()
                    if not each.is_planned
                }
                of_send[account.generation] = account
                far = progress_of(of_send, due_later=row.due_at_ms > now_ms)
                if far.is_over and not row.ended_at_ms:
                    over.append(_end_event(row, of_send, far, now_ms))
                rows.append(
                    {
                        "of_push": row.push_id,
                        "told": _encode_accounts(of_send),
                        "how_far": far.value,
                        "over_at_ms": now_ms if far.is_over else 0,
                        "drop": far.is_over,
                    }
                )
            if rows:
                await connection.execute(write, rows)
            if self._results is not None:
                await self._results.add_with(connection, over)
            return True

        try:
            written = await self._database.write(work)
        except _KeeperReplaced:
            return False
        self._tell(over)
        return written

    async def fetch_unseen(self, *, before_ms: int, limit: int) -> list[str]:
        """See `SendLog.fetch_unseen`."""
        statement = (
            select(_table.push_id)
            .where(_OPEN, self._seen(False), _table.accepted_at_ms <= before_ms)
            .order_by(_table.push_id)
            .limit(limit)
        )
        return [row.push_id for row in await self._fetch(statement)]

    async def fetch_open(self, *, after: str, limit: int) -> list[str]:
        """See `SendLog.fetch_open`."""
        # Apart, as the index has them.
        halves = [
            select(_table.push_id)
            .where(_OPEN, self._seen(seen), _table.push_id > after)
            .order_by(_table.push_id)
            .limit(limit)
            .subquery()
            for seen in (False, True)
        ]
        both = union_all(*(select(half.c.push_id) for half in halves)).subquery()
        statement = select(both.c.push_id).order_by(both.c.push_id).limit(limit)
        return [row.push_id for row in await self._fetch(statement)]

    async def end_unknown(self, push_ids: Sequence[str], *, note: str) -> int:
        """See `SendLog.end_unknown`."""
        now_ms = self._clock.now_ms()
        statement = (
            select(_table.push_id, _table.accounts, _table.uid, _table.about)
            .where(_table.push_id.in_(push_ids), _OPEN)
            .order_by(_table.push_id)
            .with_for_update()
        )

        over: list[ResultEvent] = []

        async def work(connection: AsyncConnection) -> int:
            rows = (await connection.execute(statement)).all()
            over.clear()
            for row in rows:
                ended = {
                    name: _give_up(account)
                    for name, account in _parse_accounts(row.accounts).items()
                }
                await connection.execute(
                    update(push_sends)
                    .where(_table.push_id == row.push_id)
                    .values(
                        accounts=_encode_accounts(ended),
                        progress=Progress.FINISHED.value,
                        ended_at_ms=now_ms,
                        note=note,
                    )
                )
                over.append(_end_event(row, ended, Progress.FINISHED, now_ms))
            if self._results is not None:
                await self._results.add_with(connection, over)
            return len(rows)

        if not push_ids:
            return 0
        count = await self._database.write(work)
        self._tell(over)
        return count

    async def purge(self, *, before_ms: int, limit: int) -> int:
        """See `SendLog.purge`."""
        oldest = (
            select(_table.push_id)
            # None that was accepted later can have ended before.
            .where(_table.push_id < send_ids_from(before_ms + _SKEW_MS))
            .where(_table.ended_at_ms > 0, _table.ended_at_ms <= before_ms)
            .order_by(_table.push_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("oldest")
        )
        statement = delete(push_sends).where(_table.push_id.in_(select(oldest)))

        async def work(connection: AsyncConnection) -> int:
            gone = await connection.execute(statement.returning(_table.push_id))
            return len(gone.all())

        return await self._database.write(work)

    # --- SendSource ---

    async def fetch(self, *, uid: str = "", push_id: str = "") -> SendRecord | None:
        """See `SendSource.fetch`."""
        which = _table.push_id == push_id if push_id else _table.uid == uid
        statement = select(*_SHOWN).where(which).order_by(_table.push_id.desc())
        rows = await self._fetch(statement.limit(1))
        return _record_of(rows[0]) if rows else None

    async def list_sends(self, query: SendQuery) -> list[SendRecord]:
        """See `SendSource.list_sends`."""
        statement = select(*_SHOWN)
        if query.uid:
            statement = statement.where(_table.uid == query.uid)
        if query.progress:
            names = [each.value for each in query.progress]
            statement = statement.where(_table.progress.in_(names))
        if query.since_ms:
            statement = statement.where(
                _table.push_id >= send_ids_from(query.since_ms - _SKEW_MS),
                _table.accepted_at_ms >= query.since_ms,
            )
        if query.until_ms:
            statement = statement.where(_table.accepted_at_ms < query.until_ms)
        if query.before:
            statement = statement.where(_table.push_id < query.before)
        statement = statement.order_by(_table.push_id.desc()).limit(query.limit)
        return [_record_of(row) for row in await self._fetch(statement)]

    async def count_open(self) -> int:
        """See `SendSource.count_open`."""
        statement = select(func.count()).select_from(push_sends).where(_OPEN)

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).scalar_one())

        return await self._database.read(work)

    # --- the group ---

    async def _accept_group(
        self, group: Sequence[Accepting]
    ) -> Sequence[Taken | ApiError | None]:
        over: list[ResultEvent] = []
        if all(each.fingerprint is None for each in group) and not (
            self._results is not None and _ends_of(group, 0)
        ):
            rows = [_row_of(each) for each in group]
            await self._database.write_alone(lambda one: _add(one, rows))
            return [_new(each) for each in group]

        async def work(
            connection: AsyncConnection,
        ) -> Sequence[Taken | ApiError | None]:
            now_ms = self._clock.now_ms()
            answers: list[Taken | ApiError | None] = []
            new: list[Accepting] = []
            taken: set[str] = set()
            for each in group:
                uid = each.record.uid
                if each.fingerprint is None:
                    answers.append(_new(each))
                    new.append(each)
                elif uid in taken:
                    answers.append(None)  # it must see what the one before has written
                else:
                    taken.add(uid)
                    answer = await _claim(connection, each, now_ms)
                    answers.append(answer)
                    if isinstance(answer, Taken) and answer.is_new:
                        new.append(each)
            if new:
                await _add(connection, [_row_of(each) for each in new])
            if self._results is not None:
                over[:] = _ends_of(new, now_ms)
                await self._results.add_with(connection, over)
            return answers

        answers = await self._database.write(work)
        self._tell(over)
        return answers

    def _tell(self, over: Sequence[ResultEvent]) -> None:
        if self._results is not None:
            self._results.tell(over)

    def _seen(self, seen: bool) -> ColumnElement[bool]:
        # As text, so that planners see which half of the index is meant.
        if self._database.dialect == "sqlite":
            return literal_column(f"seen = {int(seen)}")
        return literal_column(f"seen = {str(seen).lower()}")

    async def _fetch(self, statement: Any) -> Sequence[Row[Any]]:
        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement)).all()

        return await self._database.read(work)


async def _add(connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
    if connection.dialect.name == "postgresql":
        columns = {name: [row[name] for row in rows] for name in _ARRAYS}
        await connection.execute(_INSERT, columns)
    else:
        await connection.execute(insert(push_sends), rows)


async def _claim(
    connection: AsyncConnection, each: Accepting, now_ms: int
) -> Taken | ApiError:
    """Take the uid, or find who has it; an `ApiError` is for its caller alone."""
    record, uids = each.record, push_uids.c
    values = {
        "uid": record.uid,
        "fingerprint": each.fingerprint,
        "push_id": record.push_id,
        "accepted": True,
        "expires_at_ms": now_ms + int(each.uid_ttl_s * _MS_PER_S),
        "queue_epoch": record.epoch,
    }
    found = (
        select(
            uids.fingerprint,
            uids.push_id,
            uids.accepted,
            uids.queue_epoch,
            _table.progress,
        )
        .select_from(
            push_uids.outerjoin(push_sends, push_sends.c.push_id == uids.push_id)
        )
        .where(uids.uid == record.uid)
    )
    while not await take_uid(connection, values, now_ms):
        row = (await connection.execute(found)).first()
        if row is None:
            continue  # it was purged between the two statements
        if bytes(row.fingerprint) != each.fingerprint:
            return Conflict(UID_TAKEN)
        progress = None if row.progress is None else Progress(row.progress)
        return Taken(row.push_id, False, progress, row.accepted, row.queue_epoch)
    return _new(each)


def _new(each: Accepting) -> Taken:
    record = each.record
    return Taken(record.push_id, True, record.progress, True, record.epoch)


async def _set_claim(
    connection: AsyncConnection, record: SendRecord, *, accepted: bool
) -> None:
    await connection.execute(
        update(push_uids)
        .where(push_uids.c.uid == record.uid, push_uids.c.push_id == record.push_id)
        .values(accepted=accepted, queue_epoch=record.epoch)
    )


def _row_of(each: Accepting) -> dict[str, Any]:
    record = each.record
    row: dict[str, Any] = {name: getattr(record, name) for name in _RECORD}
    over = record.progress.is_over
    return row | {
        "progress": record.progress.value,
        "seen": False,
        "fence": 0,
        "work": b"" if over else encode_accepted(each.payload, each.jobs),
        "about": orjson.dumps(
            {name: value for name in _ABOUT if (value := getattr(record, name))}
        ).decode(),
        "accounts": _encode_accounts(record.accounts),
    }


async def _write_first(
    connection: AsyncConnection, columns: Mapping[str, Any]
) -> set[str]:
    return set((await connection.execute(_FIRST_WRITE, columns)).scalars())


def _first_writes(accounts: Mapping[str, Account], now_ms: int) -> dict[str, Any]:
    """The columns of `_FIRST_WRITE`, but for what is the same in all rows."""
    told: list[tuple[str, str, str, int]] = []
    for push_id, account in accounts.items():
        of_send = {account.generation: account}
        far = progress_of(of_send, due_later=False)
        over_at_ms = now_ms if far.is_over else 0
        told.append((push_id, _encode_accounts(of_send), far.value, over_at_ms))
    # In one order by all, so that two statements never wait for each other.
    told.sort()
    names = ("push_id", "account", "how_far", "over_at")
    columns = zip(*told, strict=True)
    return {
        "now_ms": now_ms,
        **{name: list(column) for name, column in zip(names, columns, strict=True)},
    }


def _record_of(row: Row[Any]) -> SendRecord:
    values = {name: getattr(row, name) for name in _RECORD}
    values |= orjson.loads(row.about)
    return SendRecord(
        progress=Progress(row.progress),
        accounts=_parse_accounts(row.accounts),
        **values,
    )


def _end_event(
    row: Any, accounts: Mapping[str, Account], progress: Progress, now_ms: int
) -> ResultEvent:
    return end_of_send(
        row.push_id,
        sum_of(accounts.values(), ended=True),
        progress,
        uid=row.uid,
        analytics_uid=orjson.loads(row.about).get("analytics_uid", ""),
        at_ms=now_ms,
    )


def _ends_of(group: Sequence[Accepting], now_ms: int) -> list[ResultEvent]:
    """Of sends that are over as they are accepted, since they had expired."""
    return [
        end_of_send(
            record.push_id,
            record.account,
            record.progress,
            uid=record.uid,
            analytics_uid=record.analytics_uid,
            at_ms=now_ms,
        )
        for record in (each.record for each in group)
        if record.progress.is_over
    ]


def _encode_accounts(accounts: Mapping[str, Account]) -> str:
    told = {name: account_data(account) for name, account in accounts.items()}
    return orjson.dumps(told).decode()


def _parse_accounts(text: str) -> dict[str, Account]:
    return {name: account_of(data) for name, data in orjson.loads(text).items()}


def _give_up(account: Account) -> Account:
    left = account.open
    if left:
        account.parts[Part.UNCONFIRMED.value] += left
    account.units.clear()
    account.walks.clear()
    account.ended = True
    return account
