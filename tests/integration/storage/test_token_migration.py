"""v0004 on a database of an older release: tokens get one spelling, doubles merge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text

from tocsin.core.device import (
    Device,
    DeviceFilter,
    PageRequest,
    Registration,
    RemovedFilter,
    TopicOp,
    TopicOrigin,
    TopicsChange,
)
from tocsin.core.ids import new_id
from tocsin.core.push_services import SERVICES
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.migrations import SCHEMA, migrate
from tocsin.storage.migrations.versions import v0004_verdicts_and_tokens as revision
from tocsin.storage.tables import token_key
from tocsin.storage.user_topics import SqlUserTopicStore

HEX = "740f4707bebcf74f"
NOW_MS = 1_800_000_000_000
SPELLINGS = [
    HEX,
    HEX.upper(),
    "<740f4707 bebcf74f>",
    "740f4707 bebcf74f",
    f"0x{HEX}",
    "{length = 8, bytes = 0x740f4707 bebcf74f}",
    "74:0f:47:07:be:bc:f7:4f",
    f" {HEX}",
    f'"{HEX}"',
]


@pytest.fixture(params=["sqlite", "postgresql"])
async def older(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Database]:
    """A database that the release before left."""
    if request.param == "sqlite":
        database = open_sqlite(tmp_path / "older.db")
    else:
        database = open_postgres(request.getfixturevalue("postgres_dsn"))

    def upgrade(connection: Connection) -> None:
        command.upgrade(SCHEMA.build_config(connection), "v0003")

    await database.write(lambda connection: connection.run_sync(upgrade))
    yield database
    await database.close()


class Rows:
    """Devices as the older release wrote them."""

    def __init__(self) -> None:
        self.devices: list[dict[str, Any]] = []
        self.topics: list[dict[str, Any]] = []

    def add(
        self,
        provider: str,
        token: str,
        *,
        user: str = "u",
        at: int = 0,
        removed: bool = False,
        topics: Sequence[str] = (),
        origin: TopicOrigin = TopicOrigin.DEVICE,
    ) -> str:
        """One device, registered `at` seconds after the others; returns its id."""
        id, at_ms = new_id(provider), NOW_MS + at * 1000
        self.devices.append(
            {
                "id": id,
                "provider": provider,
                "token": token,
                "token_key": token_key(provider, token),
                "user_id": user,
                "at_ms": at_ms,
                "removed_at_ms": at_ms + 1 if removed else None,
            }
        )
        self.topics += [
            {"id": new_id("device_topic"), "device": id, "topic": t, "origin": origin}
            for t in topics
        ]
        return id

    async def write(self, database: Database) -> None:
        insert = text(
            "INSERT INTO devices (id, provider, token, token_key, platform, user_id,"
            " timezone, locale, meta, tags, integration, webpush_keys, created_at_ms,"
            " updated_at_ms, registered_at_ms, removed_at_ms, removed_reason) VALUES"
            " (:id, :provider, :token, :token_key, 'ios', :user_id, '', '', '{}', '{}',"
            " '', '', :at_ms, :at_ms, :at_ms, :removed_at_ms, '')"
        )
        topic = text(
            "INSERT INTO device_topics (id, device_id, topic, origins)"
            " VALUES (:id, :device, :topic, :origin)"
        )

        async def work(connection: Any) -> None:
            await connection.execute(insert, self.devices)
            if self.topics:
                await connection.execute(topic, self.topics)

        await database.write(work)


class Clock:
    """Later than all that was registered."""

    def now_ms(self) -> int:
        return NOW_MS + 10**9


async def migrated(database: Database) -> dict[str, Device]:
    """Migrate; the live devices by id."""
    assert (await migrate(database))[0] == "v0004"
    store = SqlDeviceStore(database, clock=Clock())
    page = await store.fetch_page(
        DeviceFilter(), PageRequest(limit=1000), include_topics=True
    )
    return {device.id: device for device in page.items}


async def keys(database: Database) -> dict[str, tuple[str, str, str]]:
    """Provider, token and key of every row by id."""

    async def work(connection: Any) -> Any:
        statement = text("SELECT id, provider, token, token_key FROM devices")
        return (await connection.execute(statement)).all()

    return {row.id: tuple(row[1:]) for row in await database.read(work)}


@pytest.mark.parametrize("page", [2, 2000])
@pytest.mark.parametrize("newest", [0, 4, 8])
async def test_nine_spellings_of_a_phone_become_one(
    older: Database, newest: int, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest registration stays with its id; topics of its user are united."""
    monkeypatch.setattr(revision, "_AT_ONCE", page)
    rows = Rows()
    ids = [
        rows.add(
            "apns",
            token,
            user="joe" if number % 2 == 0 else "ann",
            at=100 if number == newest else number,
            topics=(f"t{number}", "both"),
        )
        for number, token in enumerate(SPELLINGS)
    ]
    other = rows.add("apns", "AAFF", user="eve", topics=("x",))
    await rows.write(older)
    found = await migrated(older)
    assert set(found) == {ids[newest], other}
    phone = found[ids[newest]]
    assert (phone.token, phone.user) == (HEX, "joe")
    assert phone.topics == ("both", "t0", "t2", "t4", "t6", "t8")
    assert (found[other].token, found[other].topics) == ("aaff", ("x",))
    for provider, token, key in (await keys(older)).values():
        assert token_key(provider, token) == key

    # Whoever registers it now, in whatever spelling, has this device.
    store = SqlDeviceStore(older, clock=Clock())
    token = SERVICES.tokens_of("apns").normalise(SPELLINGS[2])
    again = Registration("apns", token, "ios", user="kim")
    assert await store.register(again) == ids[newest]


async def test_each_providers_tokens_get_their_spelling(older: Database) -> None:
    """Those that need none, and what is no token, stay as they are."""
    rows = Rows()
    given = {
        rows.add("fcm", " Ab:c\n"): "Ab:c",
        rows.add("fcm", "Ab:d"): "Ab:d",
        rows.add("hms", '"IQAA_x"'): "IQAA_x",
        rows.add("expo", "ExponentPushToken[aB]"): "ExponentPushToken[aB]",
        rows.add("expo", "\tExpoPushToken[aB] "): "ExpoPushToken[aB]",
        rows.add("one-signal", "0F9E8D7C-0000-4000-8000-00000000ABCD"): (
            "0F9E8D7C-0000-4000-8000-00000000ABCD"
        ),
        rows.add("webpush", "https://PUSH.example:443/Ab#c"): "https://push.example/Ab",
        rows.add("webpush", "https://push.example/ab"): "https://push.example/ab",
        rows.add("webpush", "https://push.example:8443/ab"): (
            "https://push.example:8443/ab"
        ),
        rows.add("pushpad", " Joe "): " Joe ",
        rows.add("pusher-beams", "JOE%41"): "JOE%41",
        rows.add("push-webhook", '"x"'): '"x"',
        rows.add("apns", "not hex at all"): "not hex at all",
        rows.add("apns", "ABC"): "ABC",
    }
    await rows.write(older)
    found = await migrated(older)
    assert {id: device.token for id, device in found.items()} == given
    for provider, token, key in (await keys(older)).values():
        assert token_key(provider, token) == key


async def test_a_living_device_wins_over_a_removed_one(older: Database) -> None:
    """Whatever was registered later; a removed one's topics do not come back."""
    rows = Rows()
    living = rows.add("apns", "AF", at=1, topics=("a",))
    rows.add("apns", "af", at=2, removed=True, topics=("b",))
    first = rows.add("apns", "0xee", at=1, removed=True, topics=("a",))
    last = rows.add("apns", "EE", at=2, removed=True, topics=("b",))
    await rows.write(older)
    found = await migrated(older)
    assert {id: device.topics for id, device in found.items()} == {living: ("a",)}
    store = SqlDeviceStore(older, clock=Clock())
    assert await store.restore_removed(RemovedFilter(), limit=9) == [last]
    page = await store.fetch_page(
        DeviceFilter(ids=(first, last)), PageRequest(), include_topics=True
    )
    assert [(d.token, d.topics) for d in page.items] == [("ee", ("a", "b"))]


async def test_origins_of_a_shared_topic_are_united(older: Database) -> None:
    """The end of one origin takes no topic that the other still gives."""
    rows = Rows()
    kept = rows.add("apns", "AF", at=2, topics=("t",), origin=TopicOrigin.USER)
    rows.add("apns", "af", at=1, topics=("t",), origin=TopicOrigin.DEVICE)
    await rows.write(older)
    assert list(await migrated(older)) == [kept]
    await SqlUserTopicStore(older).update("u", TopicsChange(TopicOp.REMOVE, ("t",)))
    store = SqlDeviceStore(older, clock=Clock())
    page = await store.fetch_page(DeviceFilter(), PageRequest(), include_topics=True)
    assert [device.topics for device in page.items] == [("t",)]


async def test_many_devices_without_doubles_keep_their_ids(older: Database) -> None:
    """Over several pages, odd ones among plain ones, with nothing lost."""
    rows = Rows()
    count = 5000
    wanted = {
        rows.add("apns", f"{n:08X}" if n % 2 else f"{n:08x}"): f"{n:08x}"
        for n in range(count)
    }
    await rows.write(older)
    await migrate(older)
    assert {id: token for id, (_, token, _) in (await keys(older)).items()} == wanted
