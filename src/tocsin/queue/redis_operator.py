"""What operators do with a Redis queue: its dead letters, and its move elsewhere.

Part of the queue room; it must not decide what dies, nor work on jobs.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tocsin.core.accounts import Account
from tocsin.core.clock import SystemClock
from tocsin.core.dead_letters import DeadStock, LetterHead, Mend
from tocsin.core.errors import BadRequest
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue_stock import Stored, StoredLetter
from tocsin.core.push import DeadLetter, Payload
from tocsin.protocol.job_codec import (
    PAYLOAD_HEAD,
    find_payload,
    parse_letter,
    parse_letter_head,
    without_done,
)
from tocsin.queue.redis_accounts import RedisAccounts, encode_change, encode_fields
from tocsin.queue.redis_connection import (
    GROUP,
    SCHEDULE_KEPT_MS,
    Keys,
    QueueScript,
    own_errors,
    receipt_of,
    run,
    run_at,
)
from tocsin.queue.replays import find_work
from tocsin.queue.rules import MOVE_MARK_S, Timing

Found = list[tuple[bytes, Mapping[bytes, bytes]]]

_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_LARGEST = 2**64 - 1


class DeadStream:
    """Letters with the job, the reason and a copy of the payload."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._replay = QueueScript("replay", before="account")
        self._heads = QueueScript("dead_heads")

    async def fetch_page(self, *, limit: int, after: str) -> list[DeadLetter]:
        """Oldest first; raises `BadRequest` for an `after` that is no id."""
        found = await self._range(_start_after(after), "+", max(1, limit))
        return [_letter(id, fields) for id, fields in found]

    async def fetch_heads(self, *, limit: int, after: str) -> list[LetterHead]:
        """As `fetch_page`, without recipients and payloads."""
        args = [_start_after(after), "+", max(1, limit), PAYLOAD_HEAD]
        found = await self._heads(self._client, [self._keys.dead], args)
        return [
            parse_letter_head(
                letter,
                id=id.decode(),
                queue=queue.decode(),
                push_id=push_id.decode(),
                payload=payload,
            )
            for id, queue, push_id, letter, payload in found
        ]

    async def fetch(self, id: str) -> tuple[DeadLetter, Payload | None] | None:
        """A whole letter with its payload; see the port."""
        found = await self._range(id, id, 1) if _is_id(id) else []
        for name, fields in found:
            letter = _letter(name, fields)
            kept = fields[b"payload"] or None
            return letter, find_payload(kept, letter.job.push_id)
        return None

    async def count(self) -> DeadStock:
        """How many there are; see the port."""
        count = int(await run(self._client, "XLEN", self._keys.dead))
        first = await self._range("-", "+", 1)
        last: Found = await run(
            self._client, "XREVRANGE", self._keys.dead, "+", "-", "COUNT", 1
        )
        ends = [id.decode() for found in (first, last) for id, _ in found[:1]]
        return DeadStock(count, *ends) if len(ends) == 2 else DeadStock(count)

    async def replay(self, ids: Sequence[str], mend: Mend | None) -> int:
        """Each letter in one atomic step; unknown ids count nothing."""
        replayed = 0
        for id in _known_form(ids):
            found = await self._range(id, id, 1)
            if found:
                replayed += await self._replay_one(id, found[0][1], mend)
        return replayed

    async def purge(self, ids: Sequence[str]) -> int:
        """Delete these letters; returns how many there were."""
        known = _known_form(ids)
        if not known:
            return 0
        return int(await run(self._client, "XDEL", self._keys.dead, *known))

    async def _range(self, start: str, end: str, count: int) -> Found:
        found: Found = await run(
            self._client, "XRANGE", self._keys.dead, start, end, "COUNT", count
        )
        return found

    async def _replay_one(
        self, id: str, fields: Mapping[bytes, bytes], mend: Mend | None
    ) -> int:
        work = find_work(
            fields[b"letter"],
            fields[b"raw"],
            fields[b"payload"],
            queue=fields[b"queue"].decode(),
            mend=mend,
        )
        if work is None:
            return 0
        push_id = fields[b"push"].decode()
        keys = [
            self._keys.dead,
            self._keys.payload(push_id),
            self._keys.stream(work.queue),
            self._keys.account(push_id),
            self._keys.changed,
        ]
        args = [
            id,
            push_id,
            work.job,
            fields[b"payload"],
            encode_change(work.change),
            secrets.token_hex(8),
        ]
        return int(await self._replay(self._client, keys, args))


def _start_after(id: str) -> str:
    if id and not _is_id(id):
        raise BadRequest("after", "is not the id of a dead letter")
    return f"({id}" if id else "-"


class RedisLetterShelf:
    """`LetterShelf` on Redis; see the port."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def fetch(self, *, after: str, limit: int) -> list[StoredLetter]:
        """Some letters in the order of their ids."""
        start = _start_after(after)
        with own_errors():
            found: Found = await run(
                self._client, "XRANGE", self._keys.dead, start, "+", "COUNT", limit
            )
        return [
            StoredLetter(
                id.decode(),
                fields[b"queue"].decode(),
                fields[b"push"].decode(),
                fields[b"letter"],
                fields[b"raw"],
                fields[b"payload"],
            )
            for id, fields in found
        ]

    async def put_back(self, letters: Sequence[StoredLetter]) -> None:
        """Keep these too, under new ids."""
        with own_errors():
            for each in letters:
                await run(
                    self._client,
                    *("XADD", self._keys.dead, "*"),
                    *("queue", each.queue, "push", each.push_id),
                    *("letter", each.letter, "raw", each.raw),
                    *("payload", each.payload),
                )


def _known_form(ids: Sequence[str]) -> list[str]:
    return [id for id in ids if _is_id(id)]


def _is_id(text: str) -> bool:
    """Whether Redis takes it for the id of an entry."""
    return bool(_ID.fullmatch(text)) and all(
        int(part) <= _LARGEST for part in text.split("-")
    )


def _letter(id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    return parse_letter(
        fields[b"letter"],
        id=id.decode(),
        queue=fields[b"queue"].decode(),
        push_id=fields[b"push"].decode(),
        payload=fields[b"payload"],
    )


# Keys in one SCAN step, and entries of one stream whose holder is asked for.
_SCAN = 1000
_MOST_HELD = 10_000


class RedisQueueStock:
    """`QueueStock` on Redis; the client belongs to whoever opened it."""

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "tocsin",
        takeover_s: float = 15,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._silent_ms = Timing(takeover_s).silent_ms
        self._clock = clock or SystemClock()
        self._accounts = RedisAccounts(client, self._keys)
        self._letters = RedisLetterShelf(client, self._keys)
        self._take_in = QueueScript("take_in", before="account")
        self._give_up = QueueScript("give_up")

    async def origin(self) -> str:
        """The name of this queue; see the port."""
        with own_errors():
            await run(
                self._client, "SET", self._keys.origin, secrets.token_hex(8), "NX"
            )
            # Of two who ask first, both read the name that NX has let stand.
            name: bytes = await run(self._client, "GET", self._keys.origin)
        return name.decode()

    async def count_held(self) -> int:
        """Entries that a living worker holds; see the port."""
        with own_errors():
            held = [await self._held(queue) for queue in await self._queues("stream")]
        return sum(map(len, held))

    async def fetch_entries(
        self, *, limit: int
    ) -> tuple[list[Stored], dict[str, bytes]]:
        """Some entries and their payloads; see the port."""
        entries: list[Stored] = []
        payloads: dict[str, bytes] = {}
        with own_errors():
            for queue in await self._queues("stream"):
                if len(entries) < limit:
                    entries += await self._from_stream(queue, limit - len(entries))
            for queue in await self._queues("delayed"):
                if len(entries) < limit:
                    entries += await self._from_delayed(queue, limit - len(entries))
            for push_id in {entry.push_id for entry in entries}:
                key = self._keys.payload(push_id)
                if body := await run(self._client, "HGET", key, "body"):
                    payloads[push_id] = body
        return entries, payloads

    async def fetch_accounts(self, push_ids: Collection[str]) -> dict[str, Account]:
        """The accounts of these sends; see the port."""
        return await self._accounts.find(sorted(push_ids))

    async def fetch_letters(self, *, limit: int) -> list[StoredLetter]:
        """Some dead letters; see the port."""
        return await self._letters.fetch(after="", limit=limit)

    async def take_in(
        self,
        entries: Sequence[Stored],
        payloads: Mapping[str, bytes],
        letters: Sequence[StoredLetter] = (),
        *,
        origin: str,
        accounts: Mapping[str, Account] | None = None,
    ) -> None:
        """Store each of these once, in one atomic step each; see the port."""
        for entry in entries:
            body = payloads.get(entry.push_id, b"")
            place = entry.queue if entry.scheduled_uid else ""
            args: list[Any] = [entry.job, body, entry.due_ms, place]
            args += (entry.due_ms + SCHEDULE_KEPT_MS, encode_change(entry.ended))
            account = (accounts or {}).get(entry.push_id)
            args.append("" if account is None else account.generation)
            if account is not None:
                args += encode_fields(account)
            await self._take(origin, entry, "entry", *args)
        for letter in letters:
            parts = (letter.queue, letter.letter, letter.raw, letter.payload)
            await self._take(origin, letter, "letter", *parts)

    async def give_up(
        self, entries: Sequence[Stored], letters: Sequence[StoredLetter] = ()
    ) -> None:
        """Forget these; see the port."""
        with own_errors():
            for entry in entries:
                kind, _, id = entry.id.partition("|")
                stream, delayed, jobs = self._keys.all_of(entry.queue)
                payload = self._keys.payload(entry.push_id)
                await self._give_up(
                    self._client,
                    [
                        stream,
                        self._keys.progress,
                        payload,
                        delayed,
                        jobs,
                        self._keys.account(entry.push_id),
                        self._keys.changed,
                    ],
                    [GROUP, kind, id, receipt_of(entry.queue, id), entry.push_id],
                )
            if letters:
                ids = [letter.id for letter in letters]
                await run(self._client, "XDEL", self._keys.dead, *ids)

    async def _take(
        self, origin: str, what: Stored | StoredLetter, kind: str, *args: Any
    ) -> None:
        uid = what.scheduled_uid if isinstance(what, Stored) else ""
        keys = [
            # Named by the entry in the queue that it comes from: a repeated
            # move takes it once.
            self._keys.once(f"moved:{origin}:{kind}:{what.queue}:{what.id}"),
            self._keys.payload(what.push_id),
            *self._keys.all_of(what.queue),
            self._keys.sequence,
            self._keys.scheduled(uid),
            self._keys.dead,
            self._keys.account(what.push_id),
            self._keys.changed,
        ]
        with own_errors():
            await self._take_in(
                self._client,
                keys,
                [int(MOVE_MARK_S * 1000), kind, what.push_id, *args],
            )

    async def _queues(self, kind: str) -> list[str]:
        start = self._keys.stream("") if kind == "stream" else self._keys.delayed("")
        # The braces of the hash tag mean nothing to MATCH, other signs may.
        pattern = "".join(f"\\{c}" if c in "*?[]^\\" else c for c in start) + "*"

        async def scan(server: Redis) -> list[str]:
            found: set[str] = set()
            cursor = 0
            while True:
                reply: Any = await server.scan(cursor, match=pattern, count=_SCAN)
                cursor, keys = reply
                found.update(key.decode().removeprefix(start) for key in keys)
                if not cursor:
                    return sorted(found)

        return await run_at(self._client, start, scan)

    async def _held(self, queue: str) -> set[str]:
        """Ids of entries whose holder renewed its hold lately."""
        stream = self._keys.stream(queue)
        try:
            pending: Any = await self._client.xpending_range(
                stream, GROUP, "-", "+", _MOST_HELD
            )
        except ResponseError as error:
            if str(error).startswith("NOGROUP"):
                return set()
            raise
        return {
            entry["message_id"].decode()
            for entry in pending
            # A silent holder's entry may be taken over, so it may be moved,
            # too.
            if entry["time_since_delivered"] < self._silent_ms
        }

    async def _from_stream(self, queue: str, limit: int) -> list[Stored]:
        stream = self._keys.stream(queue)
        held = await self._held(queue)
        # Held entries are skipped below, so as many more are read.
        found = await run(
            self._client, "XRANGE", stream, "-", "+", "COUNT", limit + len(held)
        )
        entries = []
        for id, fields in found:
            name = id.decode()
            if name in held:
                continue
            done = await run(
                self._client, "HGET", self._keys.progress, receipt_of(queue, name)
            )
            job, ended = without_done(fields.get(b"job", b""), done or b"")
            push_id = fields.get(b"push", b"").decode(errors="replace")
            entries.append(Stored(f"stream|{name}", queue, push_id, job, ended=ended))
        return entries[:limit]

    async def _from_delayed(self, queue: str, limit: int) -> list[Stored]:
        _, delayed, jobs = self._keys.all_of(queue)
        reply: Any = await self._client.zrange(delayed, 0, limit - 1, withscores=True)
        entries = []
        for raw, due_ms in reply:
            member = raw.decode()
            job = await run(self._client, "HGET", jobs, member)
            if job is None:
                continue
            push_id = member.partition(":")[2]
            uid = await self._scheduled_uid(queue, member, push_id)
            entries.append(
                Stored(f"delayed|{member}", queue, push_id, job, int(due_ms), uid)
            )
        return entries

    async def _scheduled_uid(self, queue: str, member: str, push_id: str) -> str:
        """The uid under which this job can be taken back, or none."""
        body = await run(self._client, "HGET", self._keys.payload(push_id), "body")
        payload = find_payload(body, push_id)
        if payload is None or not payload.uid:
            return ""
        places = await run(
            self._client, "LRANGE", self._keys.scheduled(payload.uid), 0, -1
        )
        return payload.uid if f"{queue}|{member}".encode() in places else ""
