"""The contract of `UserTopicStore`, held by every implementation."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.clock import MovedClock
from tests.support.registries import RegistryPlace

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
from tocsin.core.errors import BadRequest
from tocsin.core.ports.devices import DeviceStore, UserTopicStore

LIMIT = 5


@pytest.fixture
def store(registry: RegistryPlace) -> UserTopicStore:
    return registry.user_topics(topics_per_user=LIMIT)


@pytest.fixture
def devices(registry: RegistryPlace) -> DeviceStore:
    return registry.devices(MovedClock(), topics_per_device=LIMIT)


async def register(
    devices: DeviceStore, token: str, user: str, *topics: str, id: str = ""
) -> str:
    return await devices.register(
        Registration("fcm", token, "ios", user=user, topics=topics, id=id)
    )


async def topics_of(devices: DeviceStore, device_id: str) -> tuple[str, ...]:
    page = await devices.fetch_page(
        DeviceFilter(ids=(device_id,)), PageRequest(), include_topics=True
    )
    return page.items[0].topics


async def list_of(store: UserTopicStore, user: str) -> list[str]:
    page = await store.fetch_page(UserTopicFilter(users=(user,)), PageRequest())
    return [item.topic for item in page.items]


def change(op: str, *topics: str) -> TopicsChange:
    return TopicsChange(TopicOp(op), topics)


async def test_list_is_changed_by_each_operation(store: UserTopicStore) -> None:
    """Doubled adds and absent removes are no-ops; set replaces; empty set clears."""
    for operation, expected in (
        (change("add", "b", "a", "b"), ["b", "a"]),
        (change("add", "a", "c"), ["b", "a", "c"]),
        (change("remove", "b", "nothing"), ["a", "c"]),
        (change("set", "d", "a", "d"), ["a", "d"]),
        (change("set"), []),
    ):
        await store.update("joe", operation)
        assert sorted(await list_of(store, "joe")) == sorted(expected)


async def test_repeated_update_changes_nothing(store: UserTopicStore) -> None:
    """A call that is delivered twice leaves the same rows with the same ids."""
    await store.update("joe", change("set", "a", "b"))
    before = await store.fetch_page(UserTopicFilter(), PageRequest())
    await store.update("joe", change("set", "a", "b"))
    await store.update("joe", change("add", "a"))
    assert await store.fetch_page(UserTopicFilter(), PageRequest()) == before


async def test_devices_follow_their_user(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """All devices of the user change in the same call, and nobody else's."""
    a = await register(devices, "a", "joe", "own")
    b = await register(devices, "b", "joe")
    other = await register(devices, "c", "ann")
    await store.update("joe", change("add", "x", "y"))
    assert await topics_of(devices, a) == ("own", "x", "y")
    assert await topics_of(devices, b) == ("x", "y")
    await store.update("joe", change("set", "y", "z"))
    assert await topics_of(devices, a) == ("own", "y", "z")
    assert await topics_of(devices, b) == ("y", "z")
    assert await topics_of(devices, other) == ()


async def test_own_topic_survives_the_users_removal(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """A topic that a device holds by itself stays until the device drops it."""
    device_id = await register(devices, "a", "joe", "both")
    await store.update("joe", change("add", "both"))
    await store.update("joe", change("remove", "both"))
    assert await topics_of(devices, device_id) == ("both",)
    await devices.update_topics(device_id, change("remove", "both"))
    assert await topics_of(devices, device_id) == ()


async def test_topic_of_everybody_survives_the_users_removal(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """A topic bound to the user and to everybody goes only with both."""
    await store.update(GLOBAL_USER, change("add", "x"))
    await store.update("joe", change("add", "x"))
    device_id = await register(devices, "a", "joe")
    await store.update("joe", change("remove", "x"))
    assert await topics_of(devices, device_id) == ("x",)


async def test_global_topics_reach_devices_at_their_next_registration(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """A binding of the empty user touches no device row by itself."""
    nobodys = await register(devices, "a", "")
    joes = await register(devices, "b", "joe")
    await store.update(GLOBAL_USER, change("add", "x"))
    assert await topics_of(devices, nobodys) == ()
    assert await topics_of(devices, joes) == ()
    await register(devices, "a", "")
    await register(devices, "b", "joe")
    assert await topics_of(devices, nobodys) == ("x",)
    assert await topics_of(devices, joes) == ("x",)
    await store.update(GLOBAL_USER, change("set"))
    assert await topics_of(devices, joes) == ("x",)
    await register(devices, "b", "joe")
    assert await topics_of(devices, joes) == ()


async def test_device_over_its_limit_does_not_fail_the_user(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """A device full of own topics gets its user's topics beyond the limit."""
    own = [f"own{n}" for n in range(LIMIT)]
    full = await register(devices, "a", "joe", *own)
    await store.update("joe", change("add", "x"))
    assert await topics_of(devices, full) == (*own, "x")


async def test_users_list_has_the_same_limit(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """Over the limit nothing changes, neither list nor devices."""
    device_id = await register(devices, "a", "joe")
    await store.update("joe", change("add", "a", "b", "c", "d"))
    with pytest.raises(BadRequest, match="topics: "):
        await store.update("joe", change("add", "e", "f"))
    assert await list_of(store, "joe") == ["a", "b", "c", "d"]
    assert await topics_of(devices, device_id) == ("a", "b", "c", "d")


async def test_repetition_mends_a_device_that_missed_a_topic(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """A device given to the user without its topics gets them from a repeat."""
    device_id = await register(devices, "a", "joe")
    await store.update("ann", change("add", "x"))
    await devices.update(
        DeviceSelector(ids=(device_id,)),
        DeviceChange(user="ann"),
        switch_user_topics=False,
    )
    assert await topics_of(devices, device_id) == ()
    await store.update("ann", change("add", "x"))
    assert await topics_of(devices, device_id) == ("x",)


async def test_list_is_filtered_and_paged(store: UserTopicStore) -> None:
    """Users, topics and a literal prefix narrow; the cursor is the last id."""
    await store.update("joe", change("add", "50%_x", "50abc", "Z"))
    await store.update("ann", change("add", "50%", "z"))
    await store.update(GLOBAL_USER, change("add", "z"))

    async def topics(**filter: object) -> list[str]:
        page = await store.fetch_page(UserTopicFilter(**filter), PageRequest())  # type: ignore[arg-type] # by name
        return sorted(f"{item.user}:{item.topic}" for item in page.items)

    assert await topics(users=("joe",)) == ["joe:50%_x", "joe:50abc", "joe:Z"]
    assert await topics(users=("",)) == [":z"]
    assert await topics(topics=("z",)) == [":z", "ann:z"]
    assert await topics(topic_prefix="50%") == ["ann:50%", "joe:50%_x"]
    assert await topics(topic_prefix="50%_", users=("ann",)) == []
    first = await store.fetch_page(
        UserTopicFilter(), PageRequest(limit=4, include_total=True)
    )
    rest = await store.fetch_page(UserTopicFilter(), PageRequest(first.next_cursor, 4))
    assert (first.total, len(first.items), len(rest.items)) == (6, 4, 2)
    assert (first.next_cursor, rest.next_cursor) == (first.items[-1].id, "")
    ids = [item.id for item in (*first.items, *rest.items)]
    assert ids == sorted(ids)


async def test_malformed_cursor_is_refused(store: UserTopicStore) -> None:
    """A cursor that is no id is an error of the request."""
    with pytest.raises(BadRequest, match="cursor: "):
        await store.fetch_page(UserTopicFilter(), PageRequest(cursor="nonsense"))


async def test_no_device_misses_a_change_beside_its_registration(
    store: UserTopicStore, devices: DeviceStore
) -> None:
    """However registrations and list changes interleave, all agree at the end."""

    async def change_list() -> None:
        for n in range(8):
            await store.update("joe", change("set", f"v{n}", "steady"))

    registrations = [register(devices, f"t{n}", "joe") for n in range(24)]
    _, *ids = await asyncio.gather(change_list(), *registrations)
    expected = tuple(sorted(await list_of(store, "joe")))
    for device_id in ids:
        assert await topics_of(devices, str(device_id)) == expected
