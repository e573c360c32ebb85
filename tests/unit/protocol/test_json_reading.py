from __future__ import annotations

from typing import Any

import pytest

from tocsin.protocol import api_pb2
from tocsin.protocol.json_codec import FILES, SERVER, JsonCodec
from tocsin.protocol.json_text import JsonFault

decode = SERVER.read


def _fault(kind: Any, text: bytes, codec: JsonCodec = SERVER) -> str:
    with pytest.raises(JsonFault) as caught:
        codec.read(kind, text)
    return str(caught.value)


def test_a_whole_request() -> None:
    """Every kind of field is set from its JSON form."""
    request = decode(
        api_pb2.DeviceRegisterRequest,
        b'{"provider":"fcm","token":"t","topics":["a","b"],"meta":{"k":"v"}}',
    )
    assert request == api_pb2.DeviceRegisterRequest(
        provider="fcm", token="t", topics=["a", "b"], meta={"k": "v"}
    )
    listing = decode(
        api_pb2.DeviceListRequest,
        b'{"filter":{"ids":["x"]},"limit":5,"include_topics":true}',
    )
    assert listing.filter.ids == ["x"]
    assert (listing.limit, listing.include_topics) == (5, True)


@pytest.mark.parametrize(
    "data",
    [
        b'{"text": "hello",  "n": 1.0}',
        b"[ 1,\n 2e5 , 12345678901234567890123 ]",
        b'"\\u00e9 \\/ <"',
        b"null",
        b"0",
        b"false",
        '{"ü":"😀"}'.encode(),
    ],
)
def test_inline_json_is_kept_letter_for_letter(data: bytes) -> None:
    """White space, spelling of numbers and escapes inside stay as they were."""
    body = b' { "channel" : "c", "data" : ' + data + b' , "version": 3 }\n'
    request = decode(api_pb2.PublishRequest, body)
    assert (request.data, request.channel, request.version) == (data, "c", 3)


def test_inline_json_deep_inside() -> None:
    """JSON is kept at any depth of the request."""
    body = (
        b'{"recipient":{"topics":["t"]},"notification":{"expire_at":7,'
        b'"fcm":{"message":{ "a": 1 }},"apns":{"headers":{"h":"v"},"payload":[ ]}}}'
    )
    request = decode(api_pb2.SendPushNotificationRequest, body)
    assert request.notification.fcm.message == b'{ "a": 1 }'
    assert request.notification.apns.payload == b"[ ]"
    assert dict(request.notification.apns.headers) == {"h": "v"}
    assert request.notification.expire_at == 7


@pytest.mark.parametrize("kind", [api_pb2.PublishRequest, api_pb2.DeviceListRequest])
def test_null_and_empty(kind: Any) -> None:
    """`null` and `{}` are the empty request, with white space around or not."""
    for body in (b"null", b"{}", b" null\n", b"\t{ }\r\n"):
        assert decode(kind, body) == kind()


def test_null_is_not_set() -> None:
    """A field of null is as if it had not been written; an empty object is there."""
    body = b'{"filter":null,"ids":null,"limit":null,"cursor":null}'
    assert decode(api_pb2.DeviceListRequest, body) == api_pb2.DeviceListRequest()
    request = decode(api_pb2.DeviceUpdateRequest, b'{"user_update":{}}')
    assert request.HasField("user_update")
    body = b'{"recipient":null,"notification":{"fcm":null,"apns":{}}}'
    send = decode(api_pb2.SendPushNotificationRequest, body)
    assert not send.HasField("recipient")
    assert not send.notification.HasField("fcm")
    assert send.notification.HasField("apns")


def test_names_in_any_case() -> None:
    """Names match in whatever case, with JSON inside or not."""
    body = b'{"Channel":"c","DATA":1,"Idempotency_Key":"k"}'
    request = decode(api_pb2.PublishRequest, body)
    assert (request.channel, request.data) == ("c", b"1")
    assert request.idempotency_key == "k"
    assert decode(api_pb2.CancelPushRequest, b'{"UID":"u"}').uid == "u"


def test_unknown_names() -> None:
    """What the schema does not know is passed over, or refused in a strict file."""
    body = b'{"unheard":{"of":[1]},"channel":"c","data":{}}'
    assert decode(api_pb2.PublishRequest, body).channel == "c"
    assert _fault(api_pb2.PublishRequest, body, FILES) == "unheard: no such field"
    inner = b'{"filter":{"unheard":1}}'
    assert decode(api_pb2.DeviceListRequest, inner).HasField("filter")
    fault = _fault(api_pb2.DeviceListRequest, inner, FILES)
    assert fault == "filter.unheard: no such field"


def test_of_a_doubled_name_the_last_counts() -> None:
    """A list written twice is not joined."""
    body = b'{"channels":["a"],"data":1,"channels":["b"],"data":2}'
    request = decode(api_pb2.BroadcastRequest, body)
    assert (list(request.channels), request.data) == (["b"], b"2")


@pytest.mark.parametrize(
    "body",
    [b'{"provider":"fcm","tokens":["t"]}', b'[{"provider":"fcm","tokens":["t"]}]'],
)
def test_tokens_by_provider_as_object_or_list(body: bytes) -> None:
    """The oldest description has one object where the schema has a list."""
    for kind, name in (
        (api_pb2.DeviceRemoveRequest, b"provider_tokens"),
        (api_pb2.DeviceTopicListRequest, b"device_provider_tokens"),
    ):
        request = decode(kind, b'{"' + name + b'":' + body + b"}")
        (group,) = getattr(request, name.decode())
        assert (group.provider, list(group.tokens)) == ("fcm", ["t"])


@pytest.mark.parametrize(
    ("kind", "body", "fault"),
    [
        ("DeviceListRequest", b'{"limit":"5"}', "limit: must be a whole number"),
        ("DeviceListRequest", b'{"limit":5.0}', "limit: must be a whole number"),
        ("DeviceListRequest", b'{"limit":true}', "limit: must be a whole number"),
        (
            "DeviceListRequest",
            b'{"limit":2147483648}',
            "limit: must be from -2147483648 to 2147483647",
        ),
        (
            "PublishRequest",
            b'{"version":-1}',
            "version: must be from 0 to 18446744073709551615",
        ),
        ("PublishRequest", b'{"version":1e2}', "version: must be a whole number"),
        ("PublishRequest", b'{"version":1e400}', "version: cannot be read:"),
        ("PublishRequest", b'{"delta":1}', "delta: must be true or false"),
        ("PublishRequest", b'{"channel":1,"data":1}', "channel: must be a string"),
        ("PublishRequest", b'{"tags":{"a":1}}', "tags: must be a string"),
        ("PublishRequest", b'{"tags":[]}', "tags: must be an object"),
        ("DeviceListRequest", b'{"ids":"a"}', "ids: must be a list"),
        ("DeviceListRequest", b'{"ids":["a",1]}', "ids[1]: must be a string"),
        ("DeviceListRequest", b'{"ids":[null]}', "ids[0]: must be a string"),
        ("DeviceListRequest", b'{"filter":[]}', "filter: must be an object"),
        (
            "DeviceListRequest",
            b'{"filter":{"provider_tokens":[{"tokens":[1]}]}}',
            "filter.provider_tokens[0].tokens[0]: must be a string",
        ),
        (
            "SendPushNotificationRequest",
            b'{"notification":{"fcm":1}}',
            "notification.fcm: must be an object",
        ),
        (
            "SendPushNotificationRequest",
            b'{"localizations":{"de":{"translations":{"a":1}}}}',
            "localizations.translations: must be a string",
        ),
        (
            "BatchRequest",
            b'{"commands":[{},{"publish":{"channel":1}}]}',
            "commands[1].publish.channel: must be a string",
        ),
        ("BatchRequest", b'{"commands":{}}', "commands: must be a list"),
        ("CancelPushRequest", b"[]", "must be an object"),
        ("PublishRequest", b"[]", "must be an object"),
        ("PublishRequest", b'"x"', "must be an object"),
    ],
)
def test_wrong_types_are_named(kind: str, body: bytes, fault: str) -> None:
    """The fault says which field, by its path, and what belongs there."""
    assert _fault(getattr(api_pb2, kind), body).startswith(fault)


@pytest.mark.parametrize("kind", [api_pb2.PublishRequest, api_pb2.CancelPushRequest])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":}',
        b'{"a":1,}',
        b'{"a" 1}',
        b"{a:1}",
        b'{"a":1} {"b":2}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\n"}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"nul",
        b"nullx",
        b'{"data":' + b"[" * 100_000,
        b'{"data":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"data":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
    ],
)
def test_what_is_not_json(kind: Any, body: bytes) -> None:
    """Broken, hostile or too deep text is a fault of the body, never a crash."""
    fault = _fault(kind, body)
    expected = ("not JSON", "not UTF-8", "nested too deep", "must be an object")
    assert fault.startswith(expected)


def test_a_fault_repeats_nothing_of_the_request() -> None:
    """What a caller sent may be a token; a fault tells positions only."""
    for body in (b'{"channel":"secret', b'{"data":secret}', b'{"version":"secret"}'):
        assert "secret" not in _fault(api_pb2.PublishRequest, body)


def test_filters_nest() -> None:
    """A message that holds itself is read to its depth, and a hostile one refused."""
    body = b'{"channel":"c","label_filter":{"op":"not","nodes":[{"key":"k"}]}}'
    request = decode(api_pb2.UnsubscribeRequest, body)
    assert request.label_filter.nodes[0].key == "k"
    deep = b'{"nodes":[' * 100 + b"{}" + b"]}" * 100
    body = b'{"label_filter":' + deep + b"}"
    assert decode(api_pb2.UnsubscribeRequest, body).HasField("label_filter")
    deep = b'{"nodes":[' * 510 + b"{}" + b"]}" * 510
    body = b'{"label_filter":' + deep + b',"data":1}'
    assert "nested too deep" in _fault(api_pb2.SubscribeRequest, body)
