"""The queue on Redis Streams: one stream per queue, one consumer group.

Part of the queue room; it must not know what a job means or when one is due.

An entry lives in its stream until it is settled (XACK and XDEL in one script), so
XLEN counts unfinished work and nothing is ever trimmed: at the backlog limit new
work is refused. Keys that depend on each other change in one Lua script, so that no
crash leaves half of it. Progress lies in one hash for all entries: a worker writes
the progress of many batches in one command, and only a take-over reads it. Delayed
jobs wait in a sorted set beside their stream. Whether a job is due is judged by the
clock of Redis, because workers' clocks differ.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tocsin.core import accounts
from tocsin.core.accounts import Account, Change, Counts, WalkPage, first_account
from tocsin.core.clock import SystemClock
from tocsin.core.dead_letters import DeadStock, LetterHead, Mend
from tocsin.core.errors import QueueFull
from tocsin.core.lanes import retry_queue
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, QueuePosition
from tocsin.core.push import DeadLetter, Job, Payload
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_job,
    encode_letter,
    encode_payload,
    find_payload,
    parse_cancelled,
    parse_job,
)
from tocsin.queue.redis_accounts import (
    UNREAD,
    RedisAccounts,
    encode_change,
    encode_fields,
)
from tocsin.queue.redis_connection import (
    GROUP,
    SCHEDULE_KEPT_MS,
    Keys,
    QueueScript,
    check_writing,
    now_argument,
    own_errors,
    parse_receipt,
    receipt_of,
    run,
    run_at,
    run_confirmed,
    unavailable,
)
from tocsin.queue.redis_operator import DeadStream, RedisLetterShelf
from tocsin.queue.redis_reader import Entry, StreamReader
from tocsin.queue.rules import ACCOUNT_KEPT_MS, HighWater, Timing
from tocsin.redis_access.commands import is_one_server
from tocsin.redis_access.joined import JoinedScript

_log = structlog.get_logger(__name__)


class RedisStreamJobQueue:
    """`JobQueue` on Redis; see the port for what each method promises.

    The client belongs to whoever opened it and is not closed here. `consumer`
    must be a name that no other process has or had: a restarted process would take
    the entries of the old one for its own. Every method raises `QueueUnavailable`
    while Redis is away and works again when it is back; an `enqueue` that raised may
    have happened: repeat it with the same `push_id` and `once_ttl_s`. A `clock`, for
    tests, stands for that of Redis; without one, dead letters get the time of `dates`.
    """

    def __init__(
        self,
        client: Redis,
        *,
        consumer: str,
        prefix: str = "tocsin",
        max_stream_length: int = 100_000,
        takeover_s: float = 15,
        clock: Clock | None = None,
        dates: Clock | None = None,
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._limit = max_stream_length
        self._timing = Timing(takeover_s)
        self._clock = clock
        self._dates = clock or dates or SystemClock()
        self._keys = Keys(prefix)
        self._reader = StreamReader(
            client,
            self._keys,
            consumer=consumer,
            timing=self._timing,
            clock=clock,
        )
        self._dead = DeadStream(client, self._keys)
        self.accounts = RedisAccounts(client, self._keys)
        self.letters = RedisLetterShelf(client, self._keys)
        self._cancel = QueueScript("cancel", before="account")
        self._enqueue = QueueScript("enqueue")
        self._settle = QueueScript("settle", before="account")
        self._waiting = QueueScript("waiting")
        self._position = QueueScript("position")
        # Small calls that wait share a round trip; with several servers each goes by
        # itself, to the one that is in charge.
        self._joined: dict[QueueScript, JoinedScript] = {}
        if is_one_server(client):
            self._joined = {
                script: JoinedScript(client, script, unavailable)
                for script in (self._enqueue, self._settle)
            }
        self._high_water = HighWater()

    async def start(self, *, is_visit: bool = False) -> None:
        """Check the server; groups are made by the first read.

        A visit, such as an operator's verb, is not told what a restart would lose.
        """
        with own_errors():
            memory = await run_at(
                self._client, self._keys.sequence, lambda server: server.info("memory")
            )
        if memory.get("maxmemory", 0) and memory["maxmemory_policy"] != "noeviction":
            _log.error(
                "Redis may evict accepted work when its memory is full:"
                " set maxmemory-policy to noeviction",
                policy=memory["maxmemory_policy"],
            )
        if not is_visit:
            await self._warn_of_memory_alone()

    async def _warn_of_memory_alone(self) -> None:
        """Say what a restart of this server would lose; nothing where it is unknown."""
        try:
            about = await run_at(
                self._client,
                self._keys.sequence,
                lambda server: server.info("persistence"),
            )
        except (RedisError, OSError) as error:
            _log.debug("Redis does not tell what it keeps on disk", error=str(error))
            return
        if about.get("aof_enabled") == 0:
            _log.warning(
                "Redis keeps no append-only file (appendonly no): a restart loses"
                " accepted sends, all since its last snapshot or all there are; set"
                " appendonly yes",
                saved_at=about.get("rdb_last_save_time", 0),
            )

    # --- JobProducer ---

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
        account: Account | None = None,
    ) -> bool:
        """Store the payload and all jobs in one atomic step; see the port."""
        is_counted = account is not None or accounts.is_kept(jobs)
        if account is None:
            account = first_account(jobs, secrets.token_hex(8))
        fields = encode_fields(account) if is_counted else []
        by_queue: dict[str, list[bytes]] = {}
        for job in jobs:
            by_queue.setdefault(job.queue, []).append(encode_job(job))
        push_id = payload.push_id
        keys = [
            self._keys.once(push_id),
            self._keys.payload(push_id),
            self._keys.sequence,
            self._keys.scheduled(payload.uid),
            self._keys.account(push_id),
            self._keys.changed,
        ]
        args: list[Any] = [
            max(1, int(once_ttl_s * 1000)) if once_ttl_s > 0 else 0,
            push_id,
            encode_payload(payload),
            self._limit,
            due_ms,
            due_ms + SCHEDULE_KEPT_MS,
            len(fields),
            *fields,
        ]
        for queue, encoded in by_queue.items():
            keys += self._keys.all_of(queue)
            keys += self._keys.all_of(retry_queue(queue))[:2]
            args += [queue, len(encoded), *encoded]
        # Read before the call, as `HighWater` wants it.
        before = self._high_water.certain
        with own_errors():
            if payload.reliable:
                answer = await run_confirmed(
                    self._client,
                    self._keys.confirm,
                    lambda one: self._enqueue(one, keys, args),
                )
            else:
                answer = await self._call(self._enqueue, keys, args)
        if answer < 0:
            raise QueueFull
        if answer:
            self._high_water.take(answer, before=before)
        return bool(answer)

    async def cancel(self, uid: str) -> list[Job]:
        """Take back jobs of this uid that are not due yet; see the port.

        Where they wait was written down under the uid when they came in.
        """
        place = self._keys.scheduled(uid)
        taken: list[bytes] = []
        with own_errors():
            found = await run(self._client, "LRANGE", place, 0, -1)
            by_push: dict[str, list[tuple[str, str]]] = {}
            for entry in found:
                queue, _, member = entry.decode().partition("|")
                push_id = member.partition(":")[2]
                by_push.setdefault(push_id, []).append((queue, member))
            for push_id, members in by_push.items():
                taken += await self._take_back(push_id, members)
            # Last: after a crash before this a repeat still finds the places.
            if found:
                await run(self._client, "DEL", place)
        return parse_cancelled(taken, uid)

    # --- JobConsumer ---

    async def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait_s: float,
        behind: Sequence[str] = (),
    ) -> list[Delivery]:
        """Up to `limit` due entries; see the port."""
        if not queues or limit < 1:
            return []
        with own_errors():
            entries = await self._reader.read(
                queues, limit=limit, wait_s=wait_s, behind=behind
            )
        deliveries = []
        for entry in entries:
            try:
                job = parse_job(entry.job if entry.job is not None else b"")
            except Undecodable as error:
                await self._bury(entry, f"undecodable: {error}")
                continue
            deliveries.append(
                Delivery(
                    job,
                    receipt_of(entry.queue, entry.id),
                    entry.count,
                    entry.done,
                    entry.asked_at + self._timing.trusted_s,
                )
            )
        return deliveries

    async def fetch_payload(self, push_id: str) -> Payload | None:
        """The stored payload; see the port."""
        with own_errors():
            body = await run(self._client, "HGET", self._keys.payload(push_id), "body")
        return find_payload(body, push_id)

    async def record_progress(self, progress: Mapping[str, bytes]) -> None:
        """Store the bitmaps in one command.

        Ownership is not checked: a late record of a worker that lost its entry
        names only recipients that were really sent, and what is recorded after
        the settlement is swept.
        """
        if not progress:
            return
        flat: list[str | bytes] = []
        for receipt, done in progress.items():
            flat += (receipt, done)
        with own_errors():
            await run(self._client, "HSET", self._keys.progress, *flat)

    async def settle(
        self,
        delivery: Delivery,
        *,
        follow: Sequence[tuple[Job, int]] = (),
        dead: Sequence[tuple[Job, str]] = (),
        ended: Counts = accounts.NOTHING,
        page: WalkPage | None = None,
    ) -> bool:
        """End a delivery and add what follows; the first who settles wins."""
        now_ms = self._dates.now_ms()
        letters = [
            (job.queue, encode_letter(job, reason, now_ms), b"") for job, reason in dead
        ]
        job = delivery.job
        change = accounts.settled(
            job,
            [each for each, _ in follow],
            ended=ended,
            page=page,
            is_dead=bool(dead),
        )
        told = encode_change(change)
        return await self._end(delivery.receipt, job.push_id, follow, letters, told)

    async def keep_alive(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Renew the hold on these; returns the receipts that were lost."""
        with own_errors():
            return await self._reader.renew(deliveries)

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        """Do not count the last hand-out of these; see the port."""
        with own_errors():
            await self._reader.excuse(deliveries)

    async def find_queued(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Those whose entry is in its stream; see the port."""
        found = set()
        with own_errors():
            for delivery in deliveries:
                queue, id = parse_receipt(delivery.receipt)
                if await run(self._client, "XRANGE", self._keys.stream(queue), id, id):
                    found.add(delivery.receipt)
        return found

    # --- what every process asks, and operators ---

    async def position(self) -> QueuePosition:
        """Which data this is, and how far it has come; see the port."""
        high_water = self._high_water
        before = high_water.certain
        keys = [self._keys.origin, self._keys.sequence]
        with own_errors():
            name, reached = await self._position(
                self._client, keys, [secrets.token_hex(8)]
            )
        high_water.compare(reached, before=before)
        return QueuePosition(
            name.decode(), reached, high_water.certain, high_water.missing
        )

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        """Entries per queue that nobody holds; see the port."""
        if not queues:
            return {}
        keys = [key for queue in queues for key in self._keys.all_of(queue)[:2]]
        until = now_argument(self._clock) if only_due else "+inf"
        with own_errors():
            counts = await self._waiting(self._client, keys, [GROUP, until])
        return dict(zip(queues, counts, strict=True))

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        """Dead letters, oldest first, after the given id."""
        with own_errors():
            return await self._dead.fetch_page(limit=limit, after=after)

    async def scan_dead(self, *, limit: int, after: str = "") -> list[LetterHead]:
        """Dead letters without recipients and payloads; see the port."""
        with own_errors():
            return await self._dead.fetch_heads(limit=limit, after=after)

    async def fetch_dead(self, id: str) -> tuple[DeadLetter, Payload | None] | None:
        """A whole letter with its payload; see the port."""
        with own_errors():
            return await self._dead.fetch(id)

    async def count_dead(self) -> DeadStock:
        """How many there are; see the port."""
        with own_errors():
            return await self._dead.count()

    async def replay_dead(self, ids: Sequence[str], *, mend: Mend | None = None) -> int:
        """Put these back to work with fresh attempts; see the port."""
        with own_errors():
            return await self._dead.replay(ids, mend)

    async def purge_dead(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many."""
        with own_errors():
            return await self._dead.purge(ids)

    async def now_ms(self) -> int | None:
        """The clock of Redis."""
        if self._clock is not None:
            return self._clock.now_ms()
        with own_errors():
            seconds, microseconds = await run_at(
                self._client, self._keys.sequence, lambda server: server.time()
            )
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def check(self) -> None:
        """Raise `QueueUnavailable` if Redis takes no write now.

        `DependencyLost` where it says why, in words for whoever asks.
        """
        # In a cluster, the server of these keys is the one to ask.
        await check_writing(self._client, self._keys.ready)

    async def close(self) -> None:
        """Leave the groups where nothing is held; the rest is for take-over."""
        for joined in self._joined.values():
            await joined.close()
        queues = self._reader.known_queues()
        if queues:
            with own_errors():
                await self._reader.forget(self._consumer, queues)

    async def _take_back(
        self, push_id: str, members: list[tuple[str, str]]
    ) -> list[bytes]:
        numbers: dict[str, int] = {}
        args: list[str | int] = [push_id, ACCOUNT_KEPT_MS]
        for queue, member in members:
            # Read before it is taken: the script cannot tell what a job is about.
            job = await run(self._client, "HGET", self._keys.all_of(queue)[2], member)
            change = encode_change(_cancelled(job)) if job is not None else ""
            args += (numbers.setdefault(queue, len(numbers)), member, change)
        keys = [
            self._keys.payload(push_id),
            self._keys.account(push_id),
            self._keys.changed,
        ]
        # Without the stream: what was moved there is with the workers.
        for queue in numbers:
            keys += self._keys.all_of(queue)[1:]
        taken: list[bytes] = await self._cancel(self._client, keys, args)
        return taken

    async def _bury(self, entry: Entry, reason: str) -> None:
        letter = encode_letter(None, reason, self._dates.now_ms())
        receipt = receipt_of(entry.queue, entry.id)
        _log.error(
            "queue entry cannot be read and went to the dead letters: replay it"
            " with the release that wrote it, or purge it",
            receipt=receipt,
            push_id=entry.push_id,
            reason=reason,
        )
        raw = entry.job or b""
        letters = [(entry.queue, letter, raw)]
        await self._end(receipt, entry.push_id, (), letters, UNREAD)

    async def _end(
        self,
        receipt: str,
        push_id: str,
        follow: Sequence[tuple[Job, int]],
        letters: Sequence[tuple[str, bytes, bytes]],
        change: str,
    ) -> bool:
        queue, id = parse_receipt(receipt)
        numbers: dict[str, int] = {}
        args: list[Any] = [
            GROUP,
            id,
            receipt,
            push_id,
            change,
            ACCOUNT_KEPT_MS,
            len(follow),
        ]
        for job, due_ms in follow:
            if job.push_id != push_id:
                # The script counts up the payload of one request only.
                raise ValueError(f"job {job.id} follows from another request's job")
            number = numbers.setdefault(job.queue, len(numbers))
            args += (number, due_ms, encode_job(job))
        for letter in letters:
            args += letter
        keys = [
            self._keys.stream(queue),
            self._keys.progress,
            self._keys.payload(push_id),
            self._keys.dead,
            self._keys.sequence,
            self._keys.account(push_id),
            self._keys.changed,
        ]
        # A dict keeps its order: the numbers above are the places of these
        # keys.
        for target in numbers:
            keys += self._keys.all_of(target)
        with own_errors():
            if follow:
                # A page of batches is large: others must not wait until it is sent.
                return bool(await self._settle(self._client, keys, args))
            return bool(await self._call(self._settle, keys, args))

    async def _call(
        self, script: QueueScript, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        joined = self._joined.get(script)
        if joined is None:
            return await script(self._client, keys, args)
        return await joined(keys, args)


def _cancelled(job: bytes) -> Change | None:
    try:
        return accounts.cancelled(parse_job(job))
    except Undecodable:
        return None
