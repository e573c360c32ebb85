"""The contract of `AnalyticsStore`, held by every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.analytics import NOW_MS, put, row

from tocsin.analytics.sql import SqlAnalyticsStore
from tocsin.core.analytics import EventSum, Funnel, SendEvent, event_row
from tocsin.core.ports.analytics import AnalyticsStore
from tocsin.storage.engine import open_postgres, open_sqlite


@pytest.fixture(params=["sqlite", "postgresql", "clickhouse"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[AnalyticsStore]:
    if request.param == "clickhouse":
        pytest.importorskip("chdb", reason="chdb is not installed: pip install chdb")
        from tests.support.clickhouse_server import chdb_store

        async with chdb_store(tmp_path) as opened:
            yield opened
        return
    if request.param == "sqlite":
        database = open_sqlite(request.getfixturevalue("migrated_sqlite_path"))
    else:
        database = open_postgres(request.getfixturevalue("migrated_postgres_dsn"))
    yield SqlAnalyticsStore(database)
    await database.close()


async def test_uid_without_rows_is_all_zero(store: AnalyticsStore) -> None:
    """Nothing known is no error."""
    await put(store, [row(uid="other")])
    assert await store.fetch_funnel("u1") == Funnel("u1")


async def test_funnel_counts_each_step(store: AnalyticsStore) -> None:
    """Workers' results and what apps reported come together by uid."""
    await put(
        store,
        [
            *(row(device_id=f"d{n}", recipient=f"{n}") for n in range(5)),
            row(device_id="d5", status="failed", error_code="unregistered"),
            row(device_id="d6", status="failed", error_code="unregistered"),
            row(device_id="d7", status="failed", error_code="timeout"),
            row(uid="u2", device_id="d0"),
        ],
    )
    reports = [row(device_id=f"d{n}", provider="", recipient="") for n in range(3)]
    await put(store, [report._replace(status="delivered") for report in reports])
    await put(store, [reports[0]._replace(status="interacted")])
    assert await store.fetch_funnel("u1") == Funnel(
        "u1",
        sent=5,
        delivered=3,
        interacted=1,
        failed={"unregistered": 2, "timeout": 1},
    )


async def test_each_recipient_counts_once(store: AnalyticsStore) -> None:
    """Sends are at least once and apps repeat themselves; the funnel does not."""
    again = [row(device_id="d1"), row(device_id="d1", status="interacted")]
    await put(store, again)
    await put(store, again)
    funnel = await store.fetch_funnel("u1")
    assert (funnel.sent, funnel.delivered, funnel.interacted) == (1, 0, 1)


async def test_retry_that_succeeds_is_no_failure(store: AnalyticsStore) -> None:
    """A recipient that was reached at last leaves the failed ones."""
    await put(
        store,
        [
            row(device_id="d1", status="failed", error_code="timeout"),
            row(device_id="d1", time_ms=NOW_MS + 1000),
        ],
    )
    assert await store.fetch_funnel("u1") == Funnel("u1", sent=1)


async def test_last_fault_is_the_reason(store: AnalyticsStore) -> None:
    """Who failed several times is counted under the newest code."""
    await put(
        store,
        [
            row(status="failed", error_code="zzz", time_ms=NOW_MS),
            row(status="failed", error_code="aaa", time_ms=NOW_MS + 2000),
        ],
    )
    assert await store.fetch_funnel("u1") == Funnel("u1", failed={"aaa": 1})


async def test_raw_recipients_are_told_apart(store: AnalyticsStore) -> None:
    """Without a device the provider and the mark make a recipient."""
    await put(
        store,
        [row(recipient="m1"), row(recipient="m2"), row(provider="hms", recipient="m1")],
    )
    assert (await store.fetch_funnel("u1")).sent == 3


@pytest.mark.parametrize(
    "text",
    [
        "tab\there",
        "line\nbreak\r",
        "back\\slash \\N \\t",
        "nul\0byte",
        "quote'\"`",
        "snow ☃ 😀",
        "half \ud83d",
        "{'json': [1]}",
    ],
)
async def test_any_text_can_be_stored(store: AnalyticsStore, text: str) -> None:
    """Provider's words and users hold anything; the rows beside stay whole."""
    await put(
        store,
        [
            row(device_id="d1"),
            row(device_id="d2", user=text, msg_id=text, error_message=text),
            row(device_id="d3"),
        ],
    )
    assert (await store.fetch_funnel("u1")).sent == 3


async def test_uid_is_a_value_not_a_pattern(store: AnalyticsStore) -> None:
    """A hostile uid finds its own rows and no others."""
    hostile = "x' OR 1=1 -- \\' %"
    await put(store, [row(), row(uid=hostile, status="delivered")])
    assert await store.fetch_funnel(hostile) == Funnel(hostile, delivered=1)


async def test_appends_at_once_lose_nothing(store: AnalyticsStore) -> None:
    """Several workers write at the same time."""
    await asyncio.gather(
        *(
            put(store, [row(device_id=f"{part}-{n}") for n in range(1500)])
            for part in range(4)
        )
    )
    assert (await store.fetch_funnel("u1")).sent == 6000


async def test_purge_takes_old_rows_only(store: AnalyticsStore) -> None:
    """Oldest first, a bounded number at a time; a store with a TTL of its own: 0."""
    old = [row(device_id=f"old{n}", time_ms=NOW_MS - 10_000) for n in range(5)]
    new = [row(device_id=f"new{n}", time_ms=NOW_MS) for n in range(3)]
    await put(store, old + new)
    counts = [await store.purge(before_ms=NOW_MS - 1000, limit=3) for _ in range(3)]
    left = (await store.fetch_funnel("u1")).sent
    assert (counts, left) in [([3, 2, 0], 3), ([0, 0, 0], 8)]


async def test_events_are_no_results_and_are_summed_up(store: AnalyticsStore) -> None:
    """One for each kind, provider and reason: the last time, the last due time."""
    waiting = event_row(SendEvent.WAITING, "u1", at_ms=NOW_MS, provider="fcm")
    rows = [
        waiting._replace(error_message=str(NOW_MS + 9000), error_code="rate_limit"),
        waiting._replace(
            error_message=str(NOW_MS + 5000),
            error_code="rate_limit",
            time_ms=NOW_MS + 1000,
        ),
        event_row(SendEvent.UNMATCHED, "u1", at_ms=NOW_MS, provider="apns"),
        event_row(SendEvent.UNMATCHED, "u2", at_ms=NOW_MS, provider="apns"),
        row(device_id="d1"),
    ]
    await put(store, rows)
    assert await store.fetch_funnel("u1") == Funnel(
        "u1",
        sent=1,
        events=(
            EventSum(SendEvent.UNMATCHED, "apns", "", 0, NOW_MS),
            EventSum(
                SendEvent.WAITING, "fcm", "rate_limit", NOW_MS + 9000, NOW_MS + 1000
            ),
        ),
    )


async def test_a_cancel_is_found_under_the_uid_of_the_results(
    store: AnalyticsStore,
) -> None:
    """Who cancels knows the send's uid only; the funnel may have another."""
    scheduled = event_row(
        SendEvent.SCHEDULED, "campaign", at_ms=NOW_MS, due_ms=NOW_MS + 1, send_uid="s1"
    )
    cancelled = event_row(SendEvent.CANCELLED, "s1", at_ms=NOW_MS)
    other = event_row(SendEvent.CANCELLED, "s2", at_ms=NOW_MS)
    expired = event_row(SendEvent.EXPIRED, "s1", at_ms=NOW_MS)
    await put(store, [scheduled, cancelled, other, expired])
    found = (await store.fetch_funnel("campaign")).events
    assert [one.event for one in found] == [SendEvent.CANCELLED, SendEvent.SCHEDULED]


async def test_the_rows_of_one_device(store: AnalyticsStore) -> None:
    """Of that send alone, the oldest first."""
    failed = row(device_id="d1", status="failed", error_code="timeout")
    sent = row(device_id="d1", msg_id="m1", time_ms=NOW_MS + 2000)
    await put(store, [sent, failed, row(device_id="d2"), row(uid="u2", device_id="d1")])
    assert await store.fetch_device("u1", "d1") == [failed, sent]
    assert await store.fetch_device("u1", "unknown") == []
