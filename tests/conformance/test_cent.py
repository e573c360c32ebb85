"""The published Python library of the HTTP API, used as its own pages show."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cent import (
    AsyncClient,
    BatchRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    Client,
    DeviceFilter,
    DeviceListRequest,
    DeviceRegisterRequest,
    DeviceRemoveRequest,
    DeviceTopicListRequest,
    DeviceTopicUpdateRequest,
    DeviceUpdateRequest,
    DeviceUserUpdate,
    FcmPushNotification,
    InfoRequest,
    PublishRequest,
    PushNotification,
    SendPushNotificationRequest,
)
from cent.dto import PushRecipient, UserTopicUpdateRequest
from tests.support.api import KEY, World
from tests.support.http_api import HttpCaller, serving_http

DEVICE: dict[str, Any] = {"provider": "fcm", "platform": "android", "user": "42"}


def _client(http: HttpCaller, key: str = KEY) -> AsyncClient:
    return AsyncClient(f"http://127.0.0.1:{http.port}/api", key)


async def test_devices() -> None:
    """Devices are registered, listed, changed and removed by the library's models."""
    async with serving_http(World()) as http, _client(http) as client:
        device = await client.device_register(
            DeviceRegisterRequest(**DEVICE, token="t", topics=["news"], meta={"a": "b"})
        )
        listing = await client.device_list(
            DeviceListRequest(
                filter=DeviceFilter(users=["42"]),
                include_total_count=True,
                include_meta=True,
                include_topics=True,
            )
        )
        (item,) = listing.items
        assert (item.id, item.token, listing.total_count) == (device.id, "t", 1)
        assert (item.meta, item.topics) == ({"a": "b"}, ["news"])
        assert item.created_at > 0
        await client.device_topic_update(
            DeviceTopicUpdateRequest(device_id=device.id, op="add", topics=["b"])
        )
        topics = await client.device_topic_list(DeviceTopicListRequest())
        assert {row.topic for row in topics.items} == {"news", "b"}
        assert {row.device.id for row in topics.items} == {device.id}
        await client.device_update(
            DeviceUpdateRequest(ids=[device.id], user_update=DeviceUserUpdate(user="7"))
        )
        await client.device_remove(DeviceRemoveRequest(users=["7"]))
        assert (await client.device_list(DeviceListRequest())).items == []


async def test_sends() -> None:
    """A send answers its uid, and the payload arrives as it was written."""
    world = World()
    async with serving_http(world) as http, _client(http) as client:
        answer = await client.send_push_notification(
            SendPushNotificationRequest(
                recipient=PushRecipient(fcm_tokens=["t"]),
                notification=PushNotification(
                    fcm=FcmPushNotification(message={"notification": {"title": "Hi"}})
                ),
                uid="u-1",
            )
        )
    assert answer.uid == "u-1"
    ((payload, _),) = world.queue.accepted
    assert payload.bodies["fcm"].message == b'{"notification": {"title": "Hi"}}'


async def test_batches() -> None:
    """Replies of a batch are read as models, each with its own error."""
    async with serving_http(World()) as http, _client(http) as client:
        answer = await client.batch(
            BatchRequest(
                requests=[
                    DeviceRegisterRequest(**DEVICE, token="t"),
                    UserTopicUpdateRequest(user="42", op="add", topics=["x"]),
                ],
                parallel=True,
            )
        )
    registered: Any = answer.replies[0]
    assert registered.id


async def test_errors() -> None:
    """Codes and messages arrive in the library's exceptions."""
    async with serving_http(World()) as http:
        async with _client(http) as client:
            with pytest.raises(CentApiResponseError) as caught:
                await client.info(InfoRequest())
            assert caught.value.code == 108
            assert caught.value.message.startswith("not available")
            with pytest.raises(CentApiResponseError) as caught:
                await client.device_register(
                    DeviceRegisterRequest(**{**DEVICE, "provider": "x"}, token="t")
                )
            assert caught.value.code == 107
            assert "provider" in caught.value.message
        async with _client(http, "wrong") as client:
            with pytest.raises(CentUnauthorizedError):
                await client.publish(PublishRequest(channel="c", data={}))


async def test_the_blocking_client() -> None:
    """The client for programs without asyncio works as well."""
    async with serving_http(World()) as http:

        def register() -> str:
            with Client(f"http://127.0.0.1:{http.port}/api", KEY) as client:
                request = DeviceRegisterRequest(**DEVICE, token="t")
                return client.device_register(request).id

        assert await asyncio.to_thread(register)
