"""Random calls against a small model of who holds which topic, and why."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.clock import MovedClock

from tocsin.core.device import (
    GLOBAL_USER,
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
from tocsin.storage.engine import open_sqlite
from tocsin.storage.user_topics import SqlUserTopicStore


@dataclass
class ModelDevice:
    """What a device holds, one set for each reason."""

    user: str = ""
    own: set[str] = field(default_factory=set)
    of_user: set[str] = field(default_factory=set)
    of_all: set[str] = field(default_factory=set)


def apply(held: set[str], change: TopicsChange) -> set[str]:
    given = set(change.topics)
    if change.op is TopicOp.SET:
        return given
    return held | given if change.op is TopicOp.ADD else held - given


class Model:
    """The registry as plain sets."""

    def __init__(self) -> None:
        self.devices: dict[str, ModelDevice] = {}
        self.lists: defaultdict[str, set[str]] = defaultdict(set)

    def register(self, token: str, user: str, topics: tuple[str, ...]) -> None:
        bound = self.lists[user] if user else set()
        everybody = self.lists[GLOBAL_USER]
        self.devices[token] = ModelDevice(user, set(topics), set(bound), set(everybody))

    def change_owner(self, token: str, user: str, switch: bool) -> None:
        device = self.devices.get(token)
        if device is None:
            return
        if switch and device.user != user:
            device.of_user = set(self.lists[user]) if user else set()
        device.user = user

    def change_device(self, token: str, change: TopicsChange) -> None:
        if token in self.devices:
            device = self.devices[token]
            device.own = apply(device.own, change)

    def change_list(self, user: str, change: TopicsChange) -> None:
        self.lists[user] = apply(self.lists[user], change)
        for device in self.devices.values():
            if user and device.user == user:
                device.of_user = apply(device.of_user, change)


TOKENS = st.sampled_from(["t1", "t2", "t3"])
USERS = st.sampled_from(["", "joe", "ann"])
TOPICS = st.lists(st.sampled_from("abcd"), max_size=3).map(tuple)
CHANGES = st.builds(TopicsChange, st.sampled_from(TopicOp), TOPICS)
CALLS = st.one_of(
    st.tuples(st.just("register"), TOKENS, USERS, TOPICS),
    st.tuples(st.just("change_owner"), TOKENS, USERS, st.booleans()),
    st.tuples(st.just("change_device"), TOKENS, CHANGES),
    st.tuples(st.just("change_list"), USERS, CHANGES),
)


class Real:
    """The same calls on the stores."""

    def __init__(self, devices: SqlDeviceStore, lists: SqlUserTopicStore) -> None:
        self._devices = devices
        self._lists = lists
        self.ids: dict[str, str] = {}

    async def register(self, token: str, user: str, topics: tuple[str, ...]) -> None:
        self.ids[token] = await self._devices.register(
            Registration("fcm", token, "ios", user=user, topics=topics)
        )

    async def change_owner(self, token: str, user: str, switch: bool) -> None:
        if token in self.ids:
            await self._devices.update(
                DeviceSelector(ids=(self.ids[token],)),
                DeviceChange(user=user),
                switch_user_topics=switch,
            )

    async def change_device(self, token: str, change: TopicsChange) -> None:
        if token in self.ids:
            await self._devices.update_topics(self.ids[token], change)

    async def change_list(self, user: str, change: TopicsChange) -> None:
        await self._lists.update(user, change)

    async def held(self) -> dict[str, tuple[str, list[str]]]:
        page = await self._devices.fetch_page(
            DeviceFilter(), PageRequest(), include_topics=True
        )
        return {each.token: (each.user, list(each.topics)) for each in page.items}

    async def lists(self) -> set[tuple[str, str]]:
        page = await self._lists.fetch_page(UserTopicFilter(), PageRequest())
        return {(each.user, each.topic) for each in page.items}


async def compare(path: Path, calls: list[tuple[object, ...]]) -> None:
    database = open_sqlite(path)
    model = Model()
    real = Real(
        SqlDeviceStore(database, clock=MovedClock()), SqlUserTopicStore(database)
    )
    try:
        for name, *arguments in calls:
            getattr(model, str(name))(*arguments)
            await getattr(real, str(name))(*arguments)
            assert await real.held() == {
                token: (
                    device.user,
                    sorted(device.own | device.of_user | device.of_all),
                )
                for token, device in model.devices.items()
            }
        assert await real.lists() == {
            (user, topic) for user, topics in model.lists.items() for topic in topics
        }
    finally:
        await database.close()


@settings(
    max_examples=30,
    deadline=None,
)
@given(calls=st.lists(CALLS, min_size=3, max_size=20))
def test_devices_hold_what_the_model_says(
    sqlite_template: Path, calls: list[tuple[object, ...]]
) -> None:
    """After every call each device holds exactly the model's topics."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(sqlite_template, folder))
        asyncio.run(compare(path, calls))
