from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.published_client import PublishedClient, generate

from tocsin.protocol import api_pb2, api_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Recorder(api_pb2_grpc.CentrifugoApiServicer):
    """Answers a few calls over our stubs and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: list[tuple[str, str | bytes]] = []

    async def DeviceRegister(  # noqa: N802 - the published name
        self, request: api_pb2.DeviceRegisterRequest, context: Context
    ) -> api_pb2.DeviceRegisterResponse:
        """Answer the token as the id."""
        self.requests.append(request)
        self.metadata = [
            (pair[0], pair[1]) for pair in context.invocation_metadata() or ()
        ]
        return api_pb2.DeviceRegisterResponse(
            result=api_pb2.DeviceRegisterResult(id=request.token)
        )

    async def DeviceTopicList(  # noqa: N802 - the published name
        self, request: api_pb2.DeviceTopicListRequest, context: Context
    ) -> api_pb2.DeviceTopicListResponse:
        """Answer fields that the published schema does not have, too."""
        self.requests.append(request)
        device = api_pb2.Device(id="d1", meta={"a": "b"}, tags={"c": "d"})
        item = api_pb2.DeviceTopic(id="t1", device=device, device_id="d1")
        return api_pb2.DeviceTopicListResponse(
            result=api_pb2.DeviceTopicListResult(
                items=[item], next_cursor="t1", total_count=2**40, has_more=True
            )
        )

    async def SendPushNotification(  # noqa: N802 - the published name
        self, request: api_pb2.SendPushNotificationRequest, context: Context
    ) -> api_pb2.SendPushNotificationResponse:
        """Refuse in the response."""
        self.requests.append(request)
        return api_pb2.SendPushNotificationResponse(
            error=api_pb2.Error(code=107, message="bad request: recipient")
        )

    async def CancelPush(  # noqa: N802 - the published name
        self, request: api_pb2.CancelPushRequest, context: Context
    ) -> api_pb2.CancelPushResponse:
        """Fail the call itself."""
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        raise AssertionError("abort raises")

    async def History(  # noqa: N802 - the published name
        self, request: api_pb2.HistoryRequest, context: Context
    ) -> api_pb2.HistoryResponse:
        """Answer one publication with JSON and one without."""
        publications = [
            api_pb2.Publication(data=b'{"n":1}', offset=1),
            api_pb2.Publication(data=b"\xffnot json", offset=2),
        ]
        return api_pb2.HistoryResponse(
            result=api_pb2.HistoryResult(publications=publications)
        )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedClient]:
    """One client process for the tests of this file."""
    with PublishedClient.start(tmp_path_factory.mktemp("published")) as started:
        yield started


@pytest.fixture
def recorder() -> Recorder:
    """The servicer behind `address`."""
    return Recorder()


@pytest.fixture
async def address(recorder: Recorder) -> AsyncIterator[str]:
    """A server on loopback made from our own stubs."""
    server = grpc.aio.server()
    api_pb2_grpc.add_CentrifugoApiServicer_to_server(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_request_and_key_arrive(
    client: PublishedClient, recorder: Recorder, address: str
) -> None:
    """A registration by a published client reads the same through our schema."""
    registration: dict[str, Any] = {
        "provider": "fcm",
        "token": "t",
        "platform": "android",
        "user": "u",
        "meta": {"nick": "n"},
        "topics": ["a", "b"],
        "timezone": "Europe/Nicosia",
        "locale": "pt-BR",
    }
    answer = await asyncio.to_thread(
        client.call,
        address,
        "DeviceRegister",
        registration,
        key="k",
        metadata=[("x-centrifugo-error-mode", "transport")],
    )
    assert answer == {
        "ok": True,
        "code": "OK",
        "details": "",
        "response": {"result": {"id": "t"}},
    }
    assert recorder.requests == [api_pb2.DeviceRegisterRequest(**registration)]
    assert ("authorization", "apikey k") in recorder.metadata
    assert ("x-centrifugo-error-mode", "transport") in recorder.metadata


async def test_bytes_messages_and_nested_filters_arrive(
    client: PublishedClient, recorder: Recorder, address: str
) -> None:
    """A send keeps its bodies byte for byte; an in-band error is no failed call."""
    request = {
        "recipient": {"filter": {"topics": ["news"]}, "fcm_topic": "x"},
        "notification": {
            "fcm": {"message": {"notification": {"title": "hi"}}},
            "apns": {"headers": {"apns-priority": "5"}, "payload": {"$raw": "{ oops"}},
            "expire_at": 2**33,
        },
        "localizations": {"pt": {"translations": {"a": "b"}}},
        "limit_strategy": {"rate_limit": {"policies": [{"rate": 1}, {"rate": 2}]}},
    }
    answer = await asyncio.to_thread(
        client.call, address, "SendPushNotification", request
    )
    assert answer["ok"]
    assert answer["response"] == {
        "error": {"code": 107, "message": "bad request: recipient"}
    }
    (sent,) = recorder.requests
    assert sent.recipient.filter.topics == ["news"]
    assert sent.notification.fcm.message == b'{"notification": {"title": "hi"}}'
    assert sent.notification.apns.payload == b"{ oops"
    assert sent.notification.apns.headers == {"apns-priority": "5"}
    assert sent.notification.expire_at == 2**33
    assert sent.localizations["pt"].translations == {"a": "b"}
    assert [each.rate for each in sent.limit_strategy.rate_limit.policies] == [1, 2]


async def test_an_empty_message_counts_as_given(
    client: PublishedClient, recorder: Recorder, address: str
) -> None:
    """A sub-message without fields is still present on the wire."""
    await asyncio.to_thread(
        client.call, address, "SendPushNotification", {"recipient": {"filter": {}}}
    )
    (sent,) = recorder.requests
    assert sent.recipient.HasField("filter")
    assert not sent.HasField("notification")


async def test_added_fields_do_not_disturb_a_published_client(
    client: PublishedClient, recorder: Recorder, address: str
) -> None:
    """Numbers from 101 up in a response are skipped, all others are read."""
    answer = await asyncio.to_thread(client.call, address, "DeviceTopicList", {})
    assert answer["response"] == {
        "result": {
            "items": [{"id": "t1", "device": {"id": "d1", "meta": {"a": "b"}}}],
            "next_cursor": "t1",
            "total_count": 2**40,
        }
    }


async def test_bytes_in_a_response_are_shown_as_json_or_raw(
    client: PublishedClient, address: str
) -> None:
    """Data that is JSON is read as such, other data stays recognisable."""
    answer = await asyncio.to_thread(client.call, address, "History", {"channel": "c"})
    assert answer["response"]["result"]["publications"] == [
        {"data": {"n": 1}, "offset": 1},
        {"data": {"$raw": "\\xffnot json"}, "offset": 2},
    ]


async def test_a_failed_call_tells_its_status(
    client: PublishedClient, address: str
) -> None:
    """A status other than OK is named, with its details."""
    answer = await asyncio.to_thread(client.call, address, "CancelPush", {"uid": "u"})
    assert answer == {
        "ok": False,
        "code": "UNAUTHENTICATED",
        "details": "unauthenticated",
        "response": None,
    }


async def test_many_calls_keep_their_order(
    client: PublishedClient, recorder: Recorder, address: str
) -> None:
    """Calls made side by side are answered in the order of their requests."""
    tokens = [f"token-{number}" for number in range(300)]
    answers = await asyncio.to_thread(
        client.call_many,
        address,
        "DeviceRegister",
        [{"token": each} for each in tokens],
    )
    assert [each["response"]["result"]["id"] for each in answers] == tokens
    assert len(recorder.requests) == 300


@pytest.mark.parametrize(
    ("method", "request_", "complaint"),
    [
        ("DeviceList", {"include_tags": True}, "no field 'include_tags'"),
        ("DeviceLost", {}, "DeviceLost"),
        ("DeviceList", {"limit": "many"}, "TypeError"),
    ],
)
def test_what_the_published_schema_lacks_is_refused(
    client: PublishedClient, method: str, request_: dict[str, Any], complaint: str
) -> None:
    """The client knows nothing beyond the table, and survives being asked."""
    with pytest.raises(ValueError, match=complaint):
        client.call("127.0.0.1:1", method, request_)
    answer = client.call("127.0.0.1:1", "Info", {}, timeout_s=5)
    assert answer["code"] == "UNAVAILABLE"


def test_generating_writes_the_files_of_the_documents(tmp_path: Path) -> None:
    """The Python command of the documents makes both modules from api.proto."""
    generate(tmp_path / "new")
    made = {each.name for each in (tmp_path / "new").iterdir()}
    assert made == {"api.proto", "api_pb2.py", "api_pb2_grpc.py"}
