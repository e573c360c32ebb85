from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tocsin.api import convert
from tocsin.core.device import (
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    DeviceTopic,
    DeviceTopicFilter,
    Page,
    ProviderTokens,
    Registration,
    TagsChange,
    TopicOp,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.errors import BadRequest
from tocsin.protocol import api_pb2
from tocsin.push.checks import Paging

TOKENS = [{"provider": "fcm", "tokens": ["a", "b"]}]
TOKENS_NOUN = (ProviderTokens("fcm", ("a", "b")),)
DEVICE = Device(
    id="d1",
    provider="webpush",
    token="https://push.example/1",
    platform="web",
    user="u",
    meta={"m": "1"},
    tags={"t": "2"},
    topics=("x", "y"),
    timezone="UTC",
    locale="en",
    integration="webpush",
    webpush_keys='{"auth":"a"}',
    created_at=1_800_000_000,
    updated_at=1_800_000_001,
)


def test_registration() -> None:
    """Every field of the request arrives."""
    request = api_pb2.DeviceRegisterRequest(
        id="i",
        provider="fcm",
        token="t",
        platform="ios",
        user="u",
        meta={"m": "1"},
        topics=["x", "y"],
        timezone="UTC",
        locale="en",
        tags={"t": "2"},
        integration="fcm",
    )
    assert convert.registration_from(request) == Registration(
        id="i",
        provider="fcm",
        token="t",
        platform="ios",
        user="u",
        meta={"m": "1"},
        tags={"t": "2"},
        topics=("x", "y"),
        timezone="UTC",
        locale="en",
        integration="fcm",
    )


@pytest.mark.parametrize(
    "message", [api_pb2.DeviceUpdateRequest, api_pb2.DeviceRemoveRequest]
)
def test_selector(
    message: type[api_pb2.DeviceUpdateRequest | api_pb2.DeviceRemoveRequest],
) -> None:
    """Update and removal select alike, with the older tokens too."""
    request = message(ids=["i"], users=["u"], provider_tokens=TOKENS)
    assert convert.selector_from(request) == DeviceSelector(
        ids=("i",), users=("u",), provider_tokens=TOKENS_NOUN
    )


def test_change_has_the_parts_that_are_present() -> None:
    """A present part is set, even to nothing; an absent one is left alone."""
    assert convert.change_from(api_pb2.DeviceUpdateRequest()) == DeviceChange()
    empty = api_pb2.DeviceUpdateRequest(
        user_update={}, meta_update={}, timezone_update={}, locale_update={}
    )
    assert convert.change_from(empty) == DeviceChange(
        user="", meta={}, timezone="", locale=""
    )
    full = api_pb2.DeviceUpdateRequest(
        user_update={"user": "u"},
        meta_update={"meta": {"m": "1"}},
        timezone_update={"timezone": "UTC"},
        locale_update={"locale": "en"},
        topics_update={"op": "add", "topics": ["x"]},
        tags_update={"op": "remove", "tags": {"t": ""}},
    )
    assert convert.change_from(full) == DeviceChange(
        user="u",
        meta={"m": "1"},
        timezone="UTC",
        locale="en",
        topics=TopicsChange(TopicOp.ADD, ("x",)),
        tags=TagsChange(TopicOp.REMOVE, {"t": ""}),
    )


def test_older_spelling_of_updates_means_set() -> None:
    """Topics and tags updates without an op replace the whole set."""
    request = api_pb2.DeviceUpdateRequest(
        topics_update={"topics": ["x"]}, tags_update={"tags": {"t": "1"}}
    )
    change = convert.change_from(request)
    assert change.topics == TopicsChange(TopicOp.SET, ("x",))
    assert change.tags == TagsChange(TopicOp.SET, {"t": "1"})


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("topics_update.op", {"topics_update": {"op": "x"}}),
        ("tags_update.op", {"tags_update": {"op": "SET"}}),
    ],
)
def test_unknown_op_of_updates(field: str, request_: dict[str, Any]) -> None:
    """An unknown op is named by its path."""
    with pytest.raises(BadRequest) as caught:
        convert.change_from(api_pb2.DeviceUpdateRequest(**request_))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "message", [api_pb2.DeviceTopicUpdateRequest, api_pb2.UserTopicUpdateRequest]
)
def test_op_of_topic_updates_is_required(
    message: type[api_pb2.DeviceTopicUpdateRequest | api_pb2.UserTopicUpdateRequest],
) -> None:
    """Topic updates say what they do; empty is refused."""
    made = convert.topics_change_from(message(op="set", topics=["x"]))
    assert made == TopicsChange(TopicOp.SET, ("x",))
    for op in ("", "replace"):
        with pytest.raises(BadRequest) as caught:
            convert.topics_change_from(message(op=op))
        assert caught.value.field == "op"


@pytest.mark.parametrize(
    "message",
    [
        api_pb2.DeviceListRequest,
        api_pb2.DeviceTopicListRequest,
        api_pb2.UserTopicListRequest,
    ],
)
def test_paging(
    message: type[
        api_pb2.DeviceListRequest
        | api_pb2.DeviceTopicListRequest
        | api_pb2.UserTopicListRequest
    ],
) -> None:
    """Both names of the cursor are read."""
    request = message(cursor="c", since="s", limit=-5, include_total_count=True)
    assert convert.paging_from(request) == Paging("c", "s", -5, include_total=True)


def test_device_filters() -> None:
    """The filter message and the lists beside it are read apart."""
    lists: dict[str, Any] = {
        "ids": ["i"],
        "users": ["u"],
        "topics": ["x"],
        "providers": ["fcm"],
        "platforms": ["ios"],
        "provider_tokens": TOKENS,
    }
    noun = DeviceFilter(
        ids=("i",),
        users=("u",),
        topics=("x",),
        providers=("fcm",),
        platforms=("ios",),
        provider_tokens=TOKENS_NOUN,
    )
    request = api_pb2.DeviceListRequest(**lists)
    assert convert.flat_device_filter_from(request) == noun
    assert convert.device_filter_from(request.filter) == DeviceFilter()
    filter = api_pb2.DeviceFilter(**lists, tags={"a": "b"}, integrations=["fcm"])
    assert convert.device_filter_from(filter) == replace(
        noun, tags={"a": "b"}, integrations=("fcm",)
    )


@pytest.mark.parametrize(
    "message", [api_pb2.DeviceTopicFilter, api_pb2.DeviceTopicListRequest]
)
def test_device_topic_filters(
    message: type[api_pb2.DeviceTopicFilter | api_pb2.DeviceTopicListRequest],
) -> None:
    """The lists have the same names inside and beside the filter."""
    source = message(
        device_ids=["i"],
        device_providers=["fcm"],
        device_platforms=["ios"],
        device_users=["u"],
        device_provider_tokens=TOKENS,
        topics=["x"],
        topic_prefix="p",
    )
    assert convert.device_topic_filter_from(source) == DeviceTopicFilter(
        device_ids=("i",),
        device_providers=("fcm",),
        device_platforms=("ios",),
        device_users=("u",),
        device_provider_tokens=TOKENS_NOUN,
        topics=("x",),
        topic_prefix="p",
    )


@pytest.mark.parametrize(
    "message", [api_pb2.UserTopicFilter, api_pb2.UserTopicListRequest]
)
def test_user_topic_filters(
    message: type[api_pb2.UserTopicFilter | api_pb2.UserTopicListRequest],
) -> None:
    """The lists have the same names inside and beside the filter."""
    source = message(users=[""], topics=["x"], topic_prefix="p")
    assert convert.user_topic_filter_from(source) == UserTopicFilter(
        users=("",), topics=("x",), topic_prefix="p"
    )


BARE = api_pb2.Device(
    id="d1",
    provider="webpush",
    token="https://push.example/1",
    platform="web",
    user="u",
    timezone="UTC",
    locale="en",
    integration="webpush",
    created_at=1_800_000_000,
    updated_at=1_800_000_001,
)


def _with(**fields: Any) -> api_pb2.Device:
    device = api_pb2.Device()
    device.CopyFrom(BARE)
    device.MergeFrom(api_pb2.Device(**fields))
    return device


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, BARE),
        ({"include_meta": True}, _with(meta={"m": "1"})),
        ({"include_tags": True}, _with(tags={"t": "2"})),
        ({"include_topics": True}, _with(topics=["x", "y"])),
        ({"include_webpush_keys": True}, _with(webpush_keys='{"auth":"a"}')),
    ],
)
def test_devices_have_what_was_asked_for(
    flags: dict[str, Any], expected: api_pb2.Device
) -> None:
    """Metadata, tags, topics and keys are written only on demand."""
    result = api_pb2.DeviceListResult()
    convert.fill_devices(result, Page((DEVICE,)), api_pb2.DeviceListRequest(**flags))
    assert list(result.items) == [expected]
    assert not result.has_more
    assert result.next_cursor == ""


def test_pages_speak_both_spellings() -> None:
    """A further page shows as next_cursor and as has_more; the total on demand."""
    devices = api_pb2.DeviceListResult()
    convert.fill_devices(
        devices,
        Page((DEVICE,), next_cursor="d1", total=7),
        api_pb2.DeviceListRequest(),
    )
    users = api_pb2.UserTopicListResult()
    convert.fill_user_topics(users, Page((UserTopic("n", "u", "x"),), "n", 8))
    assert (devices.next_cursor, devices.has_more, devices.total_count) == (
        "d1",
        True,
        7,
    )
    assert users == api_pb2.UserTopicListResult(
        items=[{"id": "n", "user": "u", "topic": "x"}],
        next_cursor="n",
        has_more=True,
        total_count=8,
    )


def test_device_topics_always_name_their_device() -> None:
    """The device's id stands in both places; the rest of it only on demand."""
    row = DeviceTopic("t1", "d1", "x", device=DEVICE)
    bare, full = api_pb2.DeviceTopicListResult(), api_pb2.DeviceTopicListResult()
    convert.fill_device_topics(bare, Page((row,)), include_device=False)
    convert.fill_device_topics(full, Page((row,)), include_device=True)
    assert list(bare.items) == [
        api_pb2.DeviceTopic(id="t1", topic="x", device_id="d1", device={"id": "d1"})
    ]
    assert full.items[0].device == BARE
