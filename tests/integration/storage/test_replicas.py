"""Lists and walks from a replica, everything else from the primary."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.clock import MovedClock

from tocsin.core.device import (
    DeviceFilter,
    DeviceTopicFilter,
    PageRequest,
    Registration,
)
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database, open_postgres, open_sqlite

ALL = DeviceFilter()


@pytest.fixture
async def primary(migrated_sqlite_path: Path) -> AsyncIterator[Database]:
    database = open_sqlite(migrated_sqlite_path)
    yield database
    await database.close()


def device(token: str) -> Registration:
    return Registration(provider="fcm", token=token, platform="ios", topics=("t",))


async def tokens(store: SqlDeviceStore) -> list[list[str]]:
    """The devices as each way of reading shows them."""
    devices = await store.fetch_page(ALL, PageRequest())
    topics = await store.fetch_topic_page(
        DeviceTopicFilter(), PageRequest(), include_device=True
    )
    targets = await store.fetch_targets(ALL, provider="fcm", cursor="", limit=10)
    return [
        [each.token for each in devices.items],
        [each.device.token for each in topics.items if each.device],
        list(targets.recipients.targets),
    ]


async def test_reads_come_from_the_copy(
    primary: Database, migrated_sqlite_path: Path, tmp_path: Path
) -> None:
    """A copy that lags behind shows what it has; writes reach the primary alone."""
    clock = MovedClock()
    first = SqlDeviceStore(primary, clock=clock)
    await first.register(device("old"))
    await primary.close()  # so that all of it is in the file
    replica = open_sqlite(shutil.copy(migrated_sqlite_path, tmp_path / "copy.db"))
    store = SqlDeviceStore(primary, clock=clock, replicas=[replica])
    await store.register(device("new"))
    assert await tokens(store) == [["old"]] * 3
    assert await tokens(first) == [["old", "new"]] * 3
    await replica.close()


async def test_a_replica_that_cannot_be_reached_fails_no_list(
    primary: Database,
) -> None:
    """The primary answers in its place."""
    away = open_postgres("host=127.0.0.1 port=1 dbname=none connect_timeout=2")
    store = SqlDeviceStore(primary, clock=MovedClock(), replicas=[away])
    await store.register(device("a"))
    assert await tokens(store) == [["a"]] * 3
    await away.close()
