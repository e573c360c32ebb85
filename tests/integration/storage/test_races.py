"""Several processes on one registry: same ids, no deadlock, no lost topic."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from tests.support.clock import MovedClock
from tests.support.simultaneous import run_together

from tocsin.core.device import (
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    PageRequest,
    Registration,
    TopicOp,
    TopicsChange,
    UserTopicFilter,
)
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.user_topics import SqlUserTopicStore

REGISTER = """
import asyncio, json, sys, time
from tocsin.core.device import Registration
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import open_postgres, open_sqlite
class Clock:
    def now_ms(self):
        return time.time_ns() // 1_000_000
async def main(where):
    database = open_postgres(where) if "://" in where else open_sqlite(where)
    store = SqlDeviceStore(database, clock=Clock(), group_limit=7)
    ids = await asyncio.gather(*(
        store.register(Registration("fcm", f"t{n}", "ios", user="joe", topics=("x",)))
        for n in range(60)
    ))
    await database.close()
    print(json.dumps(ids))
sys.stdin.read()
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> str:
    name = "migrated_sqlite_path"
    if request.param == "postgresql":
        name = "migrated_postgres_dsn"
    return str(request.getfixturevalue(name))


def open_database(where: str) -> Database:
    return open_postgres(where) if "://" in where else open_sqlite(where)


@pytest.fixture
async def nodes(where: str) -> AsyncIterator[list[Database]]:
    """Two nodes on the same database, each with a pool of its own."""
    databases = [open_database(where) for _ in range(2)]
    yield databases
    for database in databases:
        await database.close()


async def test_processes_agree_on_the_ids(where: str, nodes: list[Database]) -> None:
    """First registrations of the same tokens in three processes yield one id each."""
    outputs = run_together(REGISTER, where, count=3)
    first, *others = [json.loads(output) for output in outputs]
    assert others == [first, first]
    store = SqlDeviceStore(nodes[0], clock=MovedClock())
    page = await store.fetch_page(DeviceFilter(), PageRequest(include_total=True))
    assert page.total == 60


async def test_two_nodes_change_the_same_devices(nodes: list[Database]) -> None:
    """Random changes from two nodes never fail, and topics agree at the end.

    Tokens move between ids, owners switch, lists change: rows are locked in
    every order that the code knows.
    """
    chance = random.Random(7)
    stores = [SqlDeviceStore(node, clock=MovedClock()) for node in nodes]
    lists = [SqlUserTopicStore(node) for node in nodes]
    users = ["joe", "ann", "bob"]
    ids = [
        await stores[0].register(Registration("fcm", f"t{n}", "ios", user="joe"))
        for n in range(10)
    ]

    def one_call() -> object:
        node = chance.randrange(2)
        user = chance.choice(users)
        topics = tuple(chance.sample("abcdef", 2))
        kind = chance.randrange(5)
        if kind == 0:
            return lists[node].update(user, TopicsChange(TopicOp.SET, topics))
        if kind == 1:
            return stores[node].update(
                DeviceSelector(ids=tuple(chance.sample(ids, 4))),
                DeviceChange(user=user),
                switch_user_topics=True,
            )
        token = f"t{chance.randrange(12)}"
        given = chance.choice([*ids, "", ""])
        return stores[node].register(
            Registration("fcm", token, "ios", id=given, user=user, topics=("own",))
        )

    for _ in range(12):
        await asyncio.gather(*(one_call() for _ in range(20)))  # type: ignore[call-overload] # all are coroutines
    bound = {user: {"own"} for user in users}
    for row in (await lists[0].fetch_page(UserTopicFilter(), PageRequest())).items:
        bound[row.user].add(row.topic)
    page = await stores[0].fetch_page(
        DeviceFilter(), PageRequest(), include_topics=True
    )
    assert len({device.token for device in page.items}) == len(page.items)
    for device in page.items:
        assert set(device.topics) | {"own"} == bound[device.user]


async def test_claim_of_a_token_that_another_transaction_inserts(
    migrated_postgres_dsn: str,
) -> None:
    """A registration waits for the faster one and takes over its id."""
    database = open_postgres(migrated_postgres_dsn)
    store = SqlDeviceStore(database, clock=MovedClock())
    template = await store.register(Registration("fcm", "t", "ios"))
    async with database.engine.connect() as connection:
        # What a faster node has written but not yet committed.
        columns = "provider, token, platform, user_id, timezone, locale, meta, tags,"
        columns += " integration, webpush_keys, created_at_ms, updated_at_ms,"
        columns += " registered_at_ms, removed_at_ms, removed_reason, token_key"
        await connection.exec_driver_sql(
            f"INSERT INTO devices (id, {columns}) SELECT 'other-id', "
            + columns.replace("token_key", "").replace(" token,", " 'u',")
            + " encode(sha256('fcm' || '\\x00'::bytea || 'u'), 'hex') FROM devices"
        )
        racing = asyncio.create_task(store.register(Registration("fcm", "u", "ios")))
        async with asyncio.timeout(10):
            await _somebody_waits(database)
        await connection.commit()
    assert await racing == "other-id"
    assert template != "other-id"
    await database.close()


async def _somebody_waits(database: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with database.engine.connect() as connection:
        while not await connection.scalar(waiting):
            await connection.rollback()
