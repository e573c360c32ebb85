"""Analytics room: rows in ClickHouse, in the documented table `notifications`.

It must not buffer: the writer hands it whole batches. It uses the HTTP port alone, so
it needs no client library.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import orjson

from tocsin.analytics.clickhouse_http import (
    UNKNOWN_DATABASE,
    ClickHouseError,
    ClickHouseHttp,
)
from tocsin.analytics.text_rows import EVENTS, encode_rows
from tocsin.config.clickhouse import check_cluster, check_name, check_ttl
from tocsin.core.analytics import Funnel, NotificationRow, read_events

SLICE_ROWS = 1000
"""Rows made into text before other tasks have a turn."""

DEDUPLICATED_BATCHES = 100
"""Ids of batches that the table remembers, so that a repeated batch adds nothing."""

_TEXTS = (
    "uid",
    "provider",
    "type",
    "recipient",
    "device_id",
    "platform",
    "user",
    "msg_id",
    "status",
    "error_message",
    "error_code",
)
_COLUMNS = ", ".join((*_TEXTS, "time"))


@dataclass(frozen=True, slots=True)
class ClickHouseSettings:
    """`clickhouse_analytics` of the configuration."""

    database: str = "centrifugo"
    cluster: str = ""
    ttl: str = "7 DAY"
    skip_schema: bool = False


def build_schema(settings: ClickHouseSettings) -> list[str]:
    """Statements that create missing tables; they do not change existing ones."""
    database, cluster = check_name(settings.database), check_cluster(settings.cluster)
    on_cluster = f" ON CLUSTER '{cluster}'" if cluster else ""
    texts = "".join(f"    `{name}` String,\n" for name in _TEXTS)
    engine = "ReplicatedMergeTree" if cluster else "MergeTree"
    # A replicated table remembers batches by itself.
    remember = (
        ""
        if cluster
        else f"\nSETTINGS non_replicated_deduplication_window = {DEDUPLICATED_BATCHES}"
    )
    table = (
        f"CREATE TABLE IF NOT EXISTS `{database}`.notifications{on_cluster}\n(\n"
        f"{texts}    `time` DateTime\n)\n"
        f"ENGINE = {engine}\nPARTITION BY toYYYYMMDD(time)\nORDER BY time\n"
        f"TTL time + INTERVAL {check_ttl(settings.ttl)}{remember}"
    )
    statements = [table]
    if cluster:
        statements.append(
            f"CREATE TABLE IF NOT EXISTS `{database}`.notifications_distributed"
            f"{on_cluster}\nAS `{database}`.notifications\nENGINE = Distributed("
            f"'{cluster}', '{database}', 'notifications', murmurHash3_64(uid))"
        )
    return statements


class ClickHouseAnalyticsStore:
    """Rows in `notifications`; with a cluster through `notifications_distributed`."""

    def __init__(self, http: ClickHouseHttp, settings: ClickHouseSettings) -> None:
        self.http = http
        self._settings = settings
        self._table = (
            "notifications_distributed" if settings.cluster else "notifications"
        )
        self._schema_done = settings.skip_schema
        self._schema_lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Try the server and create missing tables; raises `ClickHouseError`."""
        await self.http.run("SELECT 1", in_database=False)
        await self._make_schema()

    async def append(self, rows: Sequence[NotificationRow], *, batch_id: str) -> None:
        """See `AnalyticsStore.append`; a repeated batch is recognized by its id."""
        await self._make_schema()

        async def lines() -> AsyncIterator[bytes]:
            for start in range(0, len(rows), SLICE_ROWS):
                part = rows[start : start + SLICE_ROWS]
                yield encode_rows(part, in_seconds=True)
                await asyncio.sleep(0)

        await self.http.run(
            f"INSERT INTO {self._table} ({_COLUMNS}) FORMAT TabSeparated",
            body=lines,
            settings={
                "insert_deduplication_token": batch_id,
                # One block for each batch: several would share the token, and one of
                # them could be taken for a repetition of another.
                "input_format_parallel_parsing": "0",
                "max_insert_block_size": str(len(rows)),
                "async_insert": "0",
            },
        )

    async def fetch_funnel(self, uid: str) -> Funnel:
        """See `AnalyticsStore.fetch_funnel`."""
        answer = await self.http.run(
            _FUNNEL.format(table=self._table, events=EVENTS), values={"uid": uid}
        )
        try:
            groups = [orjson.loads(line) for line in answer.splitlines() if line]
            return Funnel(
                uid,
                sent=sum(int(group["sent"]) for group in groups),
                delivered=sum(int(group["delivered"]) for group in groups),
                interacted=sum(int(group["interacted"]) for group in groups),
                failed={
                    str(group["reason"]): int(group["failed"])
                    for group in groups
                    if int(group["failed"])
                },
                events=read_events(
                    (
                        group["event"],
                        group["provider"],
                        group["reason"],
                        group["due"],
                        int(group["at"]) * 1000,
                    )
                    for group in groups
                    if group.get("event")
                ),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ClickHouseError("ClickHouse answered what cannot be read") from error

    async def fetch_device(self, uid: str, device_id: str) -> list[NotificationRow]:
        """See `DeviceSource.fetch_device`; times are of whole seconds."""
        answer = await self.http.run(
            _DEVICE.format(table=self._table, columns=", ".join(_TEXTS)),
            values={"uid": uid, "device_id": device_id},
        )
        try:
            rows = [orjson.loads(line) for line in answer.splitlines() if line]
            return [
                NotificationRow._make(
                    [*(str(row[name]) for name in _TEXTS), int(row["at"]) * 1000]
                )
                for row in reversed(rows)
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ClickHouseError("ClickHouse answered what cannot be read") from error

    async def purge(self, *, before_ms: int, limit: int) -> int:
        """See `AnalyticsStore.purge`; the table's TTL does it."""
        del before_ms, limit
        return 0

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    async def _make_schema(self) -> None:
        # One at a time: `prepare` and a batch may come here together.
        async with self._schema_lock:
            if self._schema_done:
                return
            first, *others = build_schema(self._settings)
            try:
                await self.http.run(first, in_database=False)
            except ClickHouseError as error:
                if error.number != UNKNOWN_DATABASE:
                    raise
                # Created only if it is missing: the user may not be allowed to.
                await self.http.run(self._create_database(), in_database=False)
                others = [first, *others]
            for statement in others:
                await self.http.run(statement, in_database=False)
            self._schema_done = True

    def _create_database(self) -> str:
        cluster = self._settings.cluster
        on_cluster = f" ON CLUSTER '{cluster}'" if cluster else ""
        return f"CREATE DATABASE IF NOT EXISTS `{self._settings.database}`{on_cluster}"


# Rows are grouped by recipient: a device, or else the mark of a token, a topic or a
# condition. Its rows count once, however often a try or a batch was repeated.
# A cancellation is stored under the uid of its send, results under the analytics_uid;
# the scheduled row has both, and leads from one to the other.
_FUNNEL = """
SELECT sum(was_sent) AS sent, sum(was_delivered) AS delivered,
       sum(was_interacted) AS interacted, reason,
       countIf(was_failed AND NOT was_sent) AS failed,
       '' AS event, '' AS provider, '' AS due, toUInt32(0) AS at
FROM (
    SELECT max(status = 'sent') AS was_sent,
           max(status = 'delivered') AS was_delivered,
           max(status = 'interacted') AS was_interacted,
           max(status = 'failed') AS was_failed,
           if(was_sent, '', argMaxIf(error_code, time, status = 'failed')) AS reason
    FROM {table} WHERE uid = {{uid:String}}
    GROUP BY if(device_id != '', device_id, concat(provider, ':', recipient))
)
GROUP BY reason
UNION ALL
SELECT toUInt64(0), toUInt64(0), toUInt64(0), error_code, toUInt64(0),
       status, provider, max(error_message), toUnixTimestamp(max(time))
FROM {table}
WHERE uid = {{uid:String}} AND status IN ({events})
   OR status = 'cancelled' AND uid GLOBAL IN (
          SELECT msg_id FROM {table}
          WHERE uid = {{uid:String}} AND status = 'scheduled' AND msg_id != '')
GROUP BY status, provider, error_code
FORMAT JSONEachRow
"""

_DEVICE = """
SELECT {columns}, toUnixTimestamp(time) AS at FROM {table}
WHERE uid = {{uid:String}} AND device_id = {{device_id:String}}
ORDER BY time DESC LIMIT 100
"""
