"""ClickHouse's HTTP port on its bad days, played by a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.analytics import put, row
from tests.support.clickhouse_server import (
    Answer,
    ScriptedClickHouse,
    fault,
    hang_up,
    never,
    plain,
    scripted,
)
from tests.support.ports import free_port

from tocsin.analytics.clickhouse import ClickHouseAnalyticsStore, ClickHouseSettings
from tocsin.analytics.clickhouse_http import ClickHouseHttp
from tocsin.analytics.writer import AnalyticsWriter, BufferLimits
from tocsin.config.clickhouse import parse_dsn
from tocsin.core.analytics import Funnel, RowsRefused
from tocsin.core.errors import ApiError
from tocsin.telemetry.metrics import Metrics


@pytest.fixture
async def server() -> AsyncIterator[ScriptedClickHouse]:
    async with scripted() as server:
        yield server


@pytest.fixture
async def store(server: ScriptedClickHouse) -> AsyncIterator[ClickHouseAnalyticsStore]:
    store = build(server, skip_schema=True)
    yield store
    await store.close()


def build(
    server: ScriptedClickHouse, *more: str, **settings: object
) -> ClickHouseAnalyticsStore:
    addresses = (*map(parse_dsn, more), server.address)
    return ClickHouseAnalyticsStore(
        ClickHouseHttp(addresses, "stats", timeout_s=0.3),
        replace(ClickHouseSettings("stats"), **settings),  # type: ignore[arg-type]
    )


async def test_rows_are_one_insert(
    server: ScriptedClickHouse, store: ClickHouseAnalyticsStore
) -> None:
    """The statement is in the query, the rows are the body, the user in headers."""
    rows = [row(device_id=f"d{n}") for n in range(2500)]
    await store.append(rows, batch_id="b-1")
    (asked,) = server.asked
    assert asked.statement.startswith("INSERT INTO notifications (uid, provider, type,")
    assert asked.statement.endswith("time) FORMAT TabSeparated")
    assert asked.query["database"] == "stats"
    assert asked.query["insert_deduplication_token"] == "b-1"
    assert (asked.user, asked.password) == ("reporter", "pass word")
    lines = asked.body.decode().splitlines()
    assert [line.split("\t")[4] for line in lines] == [f"d{n}" for n in range(2500)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (fault(500, 241, "Memory limit for row SECRET"), "code 241"),
        (fault(404, 60, "Table SECRET does not exist"), "code 60"),
        (fault(516, 516, "Authentication failed: SECRET"), "user or the password"),
        (fault(403, 0, "SECRET"), "user or the password"),
        (fault(200, 159, "SECRET"), "code 159"),
        (plain(503, "SECRET"), "answered 503"),
        (plain(302, "SECRET"), "answered 302"),
        (plain(500, "Code: 252. DB::Exception: SECRET"), "code 252"),
        (hang_up, "cannot be reached"),
        (never, "in time"),
    ],
)
async def test_fault_is_an_error_that_may_pass(
    server: ScriptedClickHouse,
    store: ClickHouseAnalyticsStore,
    answer: Answer,
    says: str,
) -> None:
    """Whatever goes wrong is one kind of error, and repeats nobody's words."""
    server.script = [answer]
    with pytest.raises(ApiError, match=says) as raised:
        await put(store, [row()])
    assert raised.value.temporary
    assert "SECRET" not in raised.value.message
    assert "reporter" not in raised.value.message
    await put(store, [row()])


async def test_rows_that_cannot_be_read_are_refused(
    server: ScriptedClickHouse, store: ClickHouseAnalyticsStore
) -> None:
    """Parse faults come again with every try, so they are told apart."""
    server.script = [fault(400, 27, "Cannot parse input: expected SECRET")]
    with pytest.raises(RowsRefused, match="code 27") as raised:
        await put(store, [row()])
    assert "SECRET" not in str(raised.value)


async def test_next_server_is_asked_when_one_is_away(
    server: ScriptedClickHouse,
) -> None:
    """Of several addresses the one that answers is used, and stays in front."""
    store = build(server, f"http://127.0.0.1:{free_port()}", skip_schema=True)
    await put(store, [row()])
    await put(store, [row()])
    await store.close()
    assert len(server.inserted) == 2


async def test_schema_is_made_before_the_first_insert(
    server: ScriptedClickHouse,
) -> None:
    """Also where nothing was asked at the start, and only once."""
    store = build(server)
    await asyncio.gather(put(store, [row()]), put(store, [row()]))
    await store.close()
    first, *others = [asked.statement for asked in server.asked]
    assert first.startswith("CREATE TABLE IF NOT EXISTS `stats`.notifications\n")
    assert "TTL time + INTERVAL 7 DAY" in first
    assert [statement.split()[0] for statement in others] == ["INSERT", "INSERT"]


async def test_schema_that_failed_is_tried_again(server: ScriptedClickHouse) -> None:
    """A server that was away at the start gets its table later."""
    server.script = [fault(500, 999)]
    store = build(server)
    with pytest.raises(ApiError):
        await put(store, [row()])
    await put(store, [row()])
    await store.close()
    words = [asked.statement.split()[0] for asked in server.asked]
    assert words == ["CREATE", "CREATE", "INSERT"]


async def test_missing_database_is_made(server: ScriptedClickHouse) -> None:
    """Only where the table's statement says that there is none."""
    server.script = [plain(200), fault(404, 81)]
    store = build(server)
    await store.prepare()
    await store.close()
    assert [asked.statement.partition("(")[0].strip() for asked in server.asked] == [
        "SELECT 1",
        "CREATE TABLE IF NOT EXISTS `stats`.notifications",
        "CREATE DATABASE IF NOT EXISTS `stats`",
        "CREATE TABLE IF NOT EXISTS `stats`.notifications",
    ]


async def test_cluster_has_replicas_and_a_distributed_table(
    server: ScriptedClickHouse,
) -> None:
    """Rows go through the distributed table, sharded by uid."""
    store = build(server, cluster="main", ttl="1 MONTH")
    await store.prepare()
    await put(store, [row()])
    await store.close()
    _, table, distributed, insert = [asked.statement for asked in server.asked]
    assert "`stats`.notifications ON CLUSTER 'main'" in table
    assert "ENGINE = ReplicatedMergeTree\n" in table
    assert "INTERVAL 1 MONTH" in table
    assert "Distributed('main', 'stats', 'notifications', murmurHash3_64(uid))" in (
        distributed
    )
    assert insert.startswith("INSERT INTO notifications_distributed ")


async def test_funnel_is_asked_by_parameter(
    server: ScriptedClickHouse, store: ClickHouseAnalyticsStore
) -> None:
    """The uid travels beside the statement, escaped as the format wants it."""
    server.script = [
        plain(
            200,
            '{"sent":"2","delivered":1,"interacted":0,"reason":"","failed":0}\n'
            '{"sent":0,"delivered":0,"interacted":0,"reason":"x","failed":"3"}\n',
        )
    ]
    funnel = await store.fetch_funnel("a\tb\\'")
    assert funnel == Funnel("a\tb\\'", sent=2, delivered=1, failed={"x": 3})
    (asked,) = server.asked
    assert asked.query["param_uid"] == "a\\tb\\\\'"
    assert "a\tb" not in asked.statement


@pytest.mark.parametrize("text", ["<html>", '{"sent": 1}', "[1]", '{"sent":"many"}'])
async def test_unreadable_funnel_is_an_error(
    server: ScriptedClickHouse, store: ClickHouseAnalyticsStore, text: str
) -> None:
    """Somebody else on that port is no crash."""
    server.script = [plain(200, text)]
    with pytest.raises(ApiError, match="cannot be read"):
        await store.fetch_funnel("u1")


async def test_writer_outlives_a_server_that_is_away_for_a_while(
    server: ScriptedClickHouse, store: ClickHouseAnalyticsStore
) -> None:
    """Rows of a bad minute arrive after it, once each, under the id they had."""
    server.script = [plain(503), hang_up, never, plain(500)]
    writer = AnalyticsWriter(
        store, BufferLimits(1000, 10, 0.02), Metrics(), retry_pause_s=0.01
    )
    writer.start()
    for number in range(10):
        writer.add(row(device_id=f"d{number}"))
    async with asyncio.timeout(10):
        while writer.size:  # noqa: ASYNC110 - the writer tells nobody
            await asyncio.sleep(0.005)
    await writer.close(1)
    inserts = server.inserted
    assert len(inserts) == 5
    assert len({asked.query["insert_deduplication_token"] for asked in inserts}) == 1
    assert inserts[-1].body.count(b"\n") == 10
