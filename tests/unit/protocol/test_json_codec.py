from __future__ import annotations

from typing import Any

import pytest

from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.json_codec import CLIENT, LIST_MOST
from tocsin.protocol.json_text import ForeignData, JsonFault, is_json

write_message = CLIENT.write


def read(text: str) -> pb.Command:
    return CLIENT.read(pb.Command, text.encode())


@pytest.mark.parametrize(("name", "element"), [("vals", '"a"'), ("nodes", "{}")])
def test_a_list_has_an_end(name: str, element: str) -> None:
    """No filter is that long, and reading it keeps everybody else waiting."""
    text = '{"id":1,"subscribe":{"tf":{"%s":[%s]}}}'
    found = read(text % (name, ",".join([element] * LIST_MOST)))
    assert len(getattr(found.subscribe.tf, name)) == LIST_MOST
    with pytest.raises(JsonFault, match="elements"):
        read(text % (name, ",".join([element] * (LIST_MOST + 1))))


def test_space_between_tokens_is_skipped() -> None:
    """However much there is."""
    found = read("{ \t\r\n" + " " * 60_000 + '"id"  :\n 7 ' + "\n" * 60_000 + "}")
    assert found.id == 7


def test_every_kind_of_field() -> None:
    """Numbers, text, flags, maps, lists, objects and raw JSON are read."""
    command = read(
        '{"id":4294967295,"connect":{"token":"t","flag":-5,"data":{"a": [1 ,2]},'
        '"headers":{"x":"y","":"z"},"subs":{"ch":{"offset":18446744073709551615,'
        '"recover":true,"tf":{"op":"or","nodes":[{"key":"k","vals":["a","b"]},{}]}}}}}'
    )
    assert command.id == 2**32 - 1
    connect = command.connect
    assert (connect.token, connect.flag) == ("t", -5)
    assert connect.data == b'{"a": [1 ,2]}'
    assert dict(connect.headers) == {"x": "y", "": "z"}
    sub = connect.subs["ch"]
    assert (sub.offset, sub.recover) == (2**64 - 1, True)
    assert list(sub.tf.nodes[0].vals) == ["a", "b"]
    assert len(sub.tf.nodes) == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"1.50",
        b"-0",
        b"1e400",
        b"123456789012345678901234567890",
        b'"\\ud83d"',
        b'"\\u00e9 \xc3\xa9"',
        b"null",
        b'{"b":1,"a":2,"a":3}',
        b"[ ]",
    ],
)
def test_raw_json_is_kept_to_the_letter(raw: bytes) -> None:
    """What is embedded is neither rounded, sorted nor shortened, both ways."""
    command = read('{"id":1,"publish":{"data":' + raw.decode() + "}}")
    assert command.publish.data == raw
    assert write_message(command) == b'{"id":1,"publish":{"data":' + raw + b"}}"


def test_null_and_unknown_fields_are_absent() -> None:
    """`null` is no value, and what the schema does not know is skipped."""
    text = '{"id":1,"rpc":null,"presence":{"channel":null,"new":{"a":[{}]}},"x":"}"}'
    command = read(text)
    assert not command.HasField("rpc")
    assert command.HasField("presence")
    assert command.presence.channel == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{",
        "{,}",
        '{"id":1,}',
        '{"id" 1}',
        "{id:1}",
        '{"id":1 "rpc":{}}',
        '{"id":true}',
        '{"id":1.0}',
        '{"id":1e2}',
        '{"id":"1"}',
        '{"rpc":[]}',
        '{"rpc":{"method":1}}',
        '{"rpc":{"data":}}',
        '{"rpc":{"data":Infinity}}',
        '{"rpc":{"data":tru}}',
        '{"connect":{"headers":{"a":1}}}',
        '{"connect":{"headers":[]}}',
        '{"subscribe":{"tf":{"vals":"a"}}}',
        '{"subscribe":{"tf":{"nodes":[1]}}}',
        '{"subscribe":{"tf":{"nodes":[{},]}}}',
        '{"subscribe":{"recover":1}}',
        '{"subscribe":{"offset":-1}}',
        '{"subscribe":{"type":2147483648}}',
        '{"rpc":{"method":"a\nb"}}',
        '{"rpc":{"method":"\\x"}}',
        '{"rpc":{"method":"\\ud800"}}',
        '{"rpc":{"data":' + "[" * 100_000,
    ],
)
def test_what_is_no_command(text: str) -> None:
    """Broken JSON, wrong types and numbers out of range are refused alike."""
    with pytest.raises(JsonFault):
        read(text)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.ClientInfo(), {"user": "", "client": ""}),
        (pb.PresenceResult(), {"presence": {}}),
        (pb.PresenceStatsResult(), {"num_clients": 0, "num_users": 0}),
        (pb.HistoryResult(), {"publications": [], "epoch": "", "offset": 0}),
        (pb.SubscribeResult(), {}),
        (pb.ConnectResult(), {}),
        (pb.Publication(data=b"0"), {"data": 0}),
        (pb.Reply(id=1, unsubscribe=pb.UnsubscribeResult()), None),
    ],
)
def test_what_is_always_written(message: Any, expected: dict[str, Any] | None) -> None:
    """Zero fields are left out, but for the few that clients count on."""
    import json

    written = json.loads(write_message(message))
    assert written == ({"id": 1, "unsubscribe": {}} if expected is None else expected)


def test_text_is_escaped_and_line_breaks_between_tokens_go() -> None:
    """One message is one line, whatever is in it."""
    message = pb.Publication(data=b'{\n"a":\n1}', tags={'"k"\n': "\u2028é"})
    written = write_message(message)
    assert b"\n" not in written
    assert written.startswith(b'{"data":{"a":1}')


@pytest.mark.parametrize("data", [b"\xff", b"plain", b"{}{}", b"NaN", b'"\xff"'])
def test_foreign_data_is_not_embedded(data: bytes) -> None:
    """Bytes that are no JSON would break the frame for the client."""
    assert not is_json(data)
    with pytest.raises(ForeignData):
        write_message(pb.RPCResult(data=data))
