from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.memory_registry import MemoryDevices, MemoryUserTopics

from tocsin.core.device import (
    GLOBAL_USER,
    DeviceTopicFilter,
    ProviderTokens,
    Registration,
    TopicOp,
    TopicsChange,
    UserTopicFilter,
)
from tocsin.core.errors import BadRequest, Conflict, NotAvailable, NotFound
from tocsin.push.checks import DeviceLimits, Paging
from tocsin.push.topics import TopicService

LIMITS = DeviceLimits(token_length=10, topic_length=5, topics_per_device=3)
ADD = TopicsChange(TopicOp.ADD, ("a",))


class Room:
    """The service and its stores."""

    def __init__(self) -> None:
        self.user_topics = MemoryUserTopics()
        self.devices = MemoryDevices(self.user_topics.registry)
        self.service = TopicService(self.devices, self.user_topics, LIMITS)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize(
    ("field", "topics"),
    [
        ("topics[1]", ("a", "")),
        ("topics[0]", ("toolong",)),
        ("topics[0]", ("\0",)),
        ("topics", ("a", "b", "c", "d")),
    ],
)
async def test_bad_topics(room: Room, field: str, topics: tuple[str, ...]) -> None:
    """Bad topics are named by index for devices and for users alike."""
    change = TopicsChange(TopicOp.SET, topics)
    with pytest.raises(BadRequest) as of_device:
        await room.service.update_device("x", change)
    with pytest.raises(BadRequest) as of_user:
        await room.service.update_user("u", change)
    assert of_device.value.field == of_user.value.field == field
    assert room.devices.writes == room.user_topics.writes == 0


async def test_bad_names(room: Room) -> None:
    """Device id and user are checked like any text; only a user may be empty."""
    for device_id, owner, field in [
        ("", "", "device_id"),
        ("x\0", "", "device_id"),
        ("x", "u" * 256, "user"),
    ]:
        with pytest.raises(BadRequest) as caught:
            await room.service.update_device(device_id, ADD, owner=owner)
        assert caught.value.field == field
    with pytest.raises(BadRequest, match="user: "):
        await room.service.update_user("\0", ADD)
    await room.service.update_user("", ADD)
    assert room.user_topics.registry.topics_of(GLOBAL_USER) == ["a"]


async def test_unknown_device_and_wrong_owner(room: Room) -> None:
    """An unknown device is 104, also under an invented id; a wrong owner is 113."""
    with pytest.raises(NotFound):
        await room.service.update_device("invented", ADD)
    id = await room.devices.register(Registration("fcm", "t", "ios", user="u"))
    with pytest.raises(Conflict):
        await room.service.update_device(id, ADD, owner="other")
    assert room.devices.rows[id].topics == ()
    await room.service.update_device(id, ADD, owner="u")
    assert room.devices.rows[id].topics == ("a",)


async def test_set_with_nothing_clears(room: Room) -> None:
    """`set` without topics empties the list."""
    await room.service.update_user("u", ADD)
    await room.service.update_user("u", TopicsChange(TopicOp.SET, ()))
    assert room.user_topics.registry.bound == {}


@pytest.mark.parametrize(
    ("field", "filter"),
    [
        ("device_ids[0]", DeviceTopicFilter(device_ids=("",))),
        ("device_providers[0]", DeviceTopicFilter(device_providers=("x",))),
        ("device_platforms[0]", DeviceTopicFilter(device_platforms=("x",))),
        ("device_users[0]", DeviceTopicFilter(device_users=("\0",))),
        (
            "device_provider_tokens[0].tokens[0]",
            DeviceTopicFilter(device_provider_tokens=(ProviderTokens("fcm", ("",)),)),
        ),
        ("topics[0]", DeviceTopicFilter(topics=("toolong",))),
        ("topic_prefix", DeviceTopicFilter(topic_prefix="toolong")),
    ],
)
async def test_bad_device_topic_filter(
    room: Room, field: str, filter: DeviceTopicFilter
) -> None:
    """A bad list is named in the spelling in which it came."""
    with pytest.raises(BadRequest) as inside:
        await room.service.fetch_device_page(filter, Paging())
    with pytest.raises(BadRequest) as beside:
        await room.service.fetch_device_page(DeviceTopicFilter(), Paging(), flat=filter)
    assert inside.value.field == f"filter.{field}"
    assert beside.value.field == field


@pytest.mark.parametrize(
    ("field", "filter"),
    [
        ("users[0]", UserTopicFilter(users=("\0",))),
        ("topics[0]", UserTopicFilter(topics=("",))),
        ("topic_prefix", UserTopicFilter(topic_prefix="\0")),
    ],
)
async def test_bad_user_topic_filter(
    room: Room, field: str, filter: UserTopicFilter
) -> None:
    """A bad list is named in the spelling in which it came."""
    with pytest.raises(BadRequest) as inside:
        await room.service.fetch_user_page(filter, Paging())
    with pytest.raises(BadRequest) as beside:
        await room.service.fetch_user_page(UserTopicFilter(), Paging(), flat=filter)
    assert inside.value.field == f"filter.{field}"
    assert beside.value.field == field


async def test_prefix_in_both_spellings(room: Room) -> None:
    """One prefix may be given twice; two different ones cannot both hold."""
    for user in ("u", "v"):
        await room.service.update_user(user, TopicsChange(TopicOp.SET, ("a1", "b1")))
    one = UserTopicFilter(topic_prefix="a", users=("u",))
    page = await room.service.fetch_user_page(
        one, Paging(), flat=UserTopicFilter(topic_prefix="a", users=("v",))
    )
    assert [(row.user, row.topic) for row in page.items] == [("u", "a1"), ("v", "a1")]
    with pytest.raises(BadRequest, match="topic_prefix: "):
        await room.service.fetch_user_page(
            one, Paging(), flat=UserTopicFilter(topic_prefix="b")
        )
    with pytest.raises(BadRequest, match="topic_prefix: "):
        await room.service.fetch_device_page(
            DeviceTopicFilter(topic_prefix="a"),
            Paging(),
            flat=DeviceTopicFilter(topic_prefix="b"),
        )


async def test_device_topics_of_both_spellings(room: Room) -> None:
    """Lists beside the filter are joined with those inside it."""
    base = Registration("fcm", "", "ios", topics=("a", "b"))
    ids = [await room.devices.register(replace(base, token=t)) for t in "xyz"]
    page = await room.service.fetch_device_page(
        DeviceTopicFilter(device_ids=(ids[0],), topics=("a",)),
        Paging(),
        flat=DeviceTopicFilter(device_ids=(ids[1],)),
    )
    assert {(row.device_id, row.topic) for row in page.items} == {
        (ids[0], "a"),
        (ids[1], "a"),
    }


async def test_without_a_database() -> None:
    """Every method answers not available, and says what to set."""
    service = TopicService(None, None, LIMITS)
    calls = [
        service.update_device("x", ADD),
        service.update_user("x", ADD),
        service.fetch_device_page(DeviceTopicFilter(), Paging()),
        service.fetch_user_page(UserTopicFilter(), Paging()),
    ]
    for call in calls:
        with pytest.raises(NotAvailable, match=r"database\.sqlite\.path"):
            await call
