from __future__ import annotations

from typing import Any

import pytest

from tocsin.protocol import admin_pb2, api_pb2
from tocsin.protocol.json_codec import SERVER
from tocsin.protocol.json_text import ForeignData, embed_compact
from tocsin.protocol.json_writing import ALWAYS_WRITTEN


def _text(message: Any) -> str:
    return SERVER.write(message).decode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (api_pb2.PublishResult(), "{}"),
        (
            api_pb2.PublishResult(offset=1, epoch="AbCdEfGh"),
            '{"offset":1,"epoch":"AbCdEfGh"}',
        ),
        (
            api_pb2.HistoryResult(offset=4, epoch="e"),
            '{"publications":[],"epoch":"e","offset":4}',
        ),
        (api_pb2.PresenceResult(), '{"presence":{}}'),
        (
            api_pb2.PresenceResult(presence={"c": api_pb2.ClientInfo()}),
            '{"presence":{"c":{"user":"","client":""}}}',
        ),
        (api_pb2.PresenceStatsResult(), '{"num_clients":0,"num_users":0}'),
        (
            api_pb2.InfoResult(nodes=[api_pb2.NodeResult()]),
            (
                '{"nodes":[{"uid":"","name":"","version":"","num_clients":0,'
                '"num_users":0,"num_channels":0,"num_subs":0}]}'
            ),
        ),
        (
            api_pb2.ChannelsResult(
                channels={
                    "b": api_pb2.ChannelInfo(),
                    "a": api_pb2.ChannelInfo(num_clients=2),
                }
            ),
            '{"channels":{"a":{"num_clients":2},"b":{}}}',
        ),
        (api_pb2.ConnectionsResult(), '{"connections":{}}'),
        (api_pb2.GetUserStatusResult(), '{"statuses":[]}'),
        (api_pb2.DeviceListResult(), '{"items":[],"has_more":false}'),
        (api_pb2.DeviceTopicListResult(), '{"items":[],"has_more":false}'),
        (api_pb2.UserTopicListResult(), '{"items":[],"has_more":false}'),
        (
            api_pb2.DeviceListResult(
                items=[api_pb2.Device(id="i", topics=["t"], meta={"b": "2", "a": "1"})],
                next_cursor="i",
                total_count=2**62,
                has_more=True,
            ),
            (
                '{"items":[{"id":"i","meta":{"a":"1","b":"2"},"topics":["t"]}],'
                '"has_more":true,"next_cursor":"i","total_count":4611686018427387904}'
            ),
        ),
        (
            api_pb2.BroadcastResult(
                responses=[
                    {"result": {"offset": 2**64 - 1}},
                    {"error": {"code": 102, "message": "unknown channel"}},
                    {"result": {}},
                ]
            ),
            (
                '{"responses":[{"result":{"offset":18446744073709551615}},'
                '{"error":{"code":102,"message":"unknown channel"}},{"result":{}}]}'
            ),
        ),
        (
            api_pb2.Metrics(interval=60, items={"b": 1.5, "a": 2}),
            '{"interval":60,"items":{"a":2,"b":1.5}}',
        ),
    ],
)
def test_shapes(message: Any, text: str) -> None:
    """Empty fields are left out but for the fixed list; map keys are sorted."""
    assert _text(message) == text


def test_every_name_of_the_list_is_a_field() -> None:
    """The list of what is always written cannot drift from the schema."""
    schemas = (api_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR)
    kinds = {n: k for each in schemas for n, k in each.message_types_by_name.items()}
    for message, names in ALWAYS_WRITTEN.items():
        assert set(names) <= set(kinds[message].fields_by_name)


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b'{"a":1}', '{"a":1}'),
        (b' { "a" : [ 1.0 , 2e5 ] } ', '{"a":[1.0,2e5]}'),
        (b'{"a b": "c \\" d"}', '{"a b":"c \\" d"}'),
        (b'"<b>&"', '"\\u003cb\\u003e\\u0026"'),
        ('"\u2028\u2029é"'.encode(), '"\\u2028\\u2029é"'),
        (b"12345678901234567890123", "12345678901234567890123"),
        (b'"\\ud83d"', '"\\ud83d"'),
        (b"null", "null"),
        (b"9" * 5000, "9" * 5000),
    ],
)
def test_inline_json_is_compacted_and_escaped(raw: bytes, written: str) -> None:
    """Spelling is kept, white space around values goes, markup is escaped."""
    result = api_pb2.RPCResult(data=raw)
    assert _text(result) == '{"data":' + written + "}"


def test_markup_in_any_text_is_escaped() -> None:
    """Answers can stand inside of HTML, error messages included."""
    text = _text(api_pb2.Error(code=107, message="<script>&\u2028"))
    assert text == '{"code":107,"message":"\\u003cscript\\u003e\\u0026\\u2028"}'


@pytest.mark.parametrize(
    "raw",
    [b"{", b"binary", b"\xff", b"", b"1 2", b"NaN", b"[" * 100_000, b'"\\ud83d" x'],
)
def test_what_is_not_json_cannot_be_written(raw: bytes) -> None:
    """Bytes that came over gRPC need not be JSON; they never break an answer."""
    with pytest.raises(ForeignData):
        embed_compact(raw)
