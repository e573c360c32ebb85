from __future__ import annotations

import json

import pytest

from tocsin.core.channel import ClientInfo, Publication
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import (
    BadFrame,
    Encoding,
    ForeignData,
    WireForm,
    decode_commands,
    decode_connect_request,
    encode_ping,
    encode_publication,
    encode_push,
    quote_data,
    read_varint,
    write_varint,
)
from tocsin.protocol.json_codec import CLIENT

JSON = WireForm("json", Encoding.JSON, bytes)
UNI_JSON = WireForm("one-way json", Encoding.JSON, bytes, unidirectional=True)
PROTOBUF = WireForm("protobuf", Encoding.PROTOBUF, bytes)
UNI_PROTOBUF = WireForm("one-way", Encoding.PROTOBUF, bytes, unidirectional=True)

FULL = Publication(
    data=b'{"a":1}',
    offset=1,
    info=ClientInfo("u", "c", b'{"n":1}', b'{"r":2}'),
    tags={"k": "v", 'q"': "ü"},
    version=9,
)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63])
def test_varints(value: int) -> None:
    """Lengths survive the way out and in."""
    data = write_varint(value)
    assert read_varint(b"x" + data + b"y", 1) == (value, 1 + len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11])
def test_bad_varints(data: bytes) -> None:
    """A length that is cut off or endless is refused."""
    with pytest.raises(BadFrame):
        read_varint(data, 0)


def _delimited(*commands: pb.Command) -> bytes:
    parts = [command.SerializeToString() for command in commands]
    return b"".join(write_varint(len(part)) + part for part in parts)


def test_several_commands_in_a_frame() -> None:
    """One frame holds any number of commands, in both encodings."""
    commands = [pb.Command(id=n, rpc=pb.RPCRequest(method="x" * 200)) for n in (1, 2)]
    lines = b"\n".join(CLIENT.write(command) for command in commands)
    for data in (lines, lines + b"\n", lines.replace(b"\n", b"\r\n \n")):
        assert list(decode_commands(Encoding.JSON, data)) == commands
    delimited = _delimited(*commands)
    assert list(decode_commands(Encoding.PROTOBUF, delimited)) == commands


def test_pongs() -> None:
    """An empty command is what answers a ping."""
    assert list(decode_commands(Encoding.JSON, b"{}")) == [pb.Command()]
    assert list(decode_commands(Encoding.PROTOBUF, b"\0")) == [pb.Command()]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\x08",
        b"\x02\x08",
        b"\x02\xff\xff",
        b"\x80",
        # a method that is no UTF-8
        b"\x07\x08\x01\x6a\x03\x12\x01\xff",
    ],
)
def test_bad_protobuf_frames(data: bytes) -> None:
    """Frames that are cut off or no Protobuf are refused."""
    with pytest.raises(BadFrame):
        list(decode_commands(Encoding.PROTOBUF, data))


def test_connect_request_of_a_one_way_client() -> None:
    """It is a bare request, one and no more."""
    assert decode_connect_request(Encoding.JSON, b' {"token":"t"}\n').token == "t"
    request = pb.ConnectRequest(token="t")
    data = request.SerializeToString()
    assert decode_connect_request(Encoding.PROTOBUF, data) == request
    for bad in (b"", b"{}{}", b"[]", b"\xff"):
        with pytest.raises(BadFrame):
            decode_connect_request(Encoding.JSON, bad)
    with pytest.raises(BadFrame):
        decode_connect_request(Encoding.PROTOBUF, b"\xff")


def _push(delta: bool, data: bytes) -> pb.Push:
    return pb.Push(
        channel="news",
        pub=pb.Publication(
            data=data,
            info=pb.ClientInfo(
                user="u", client="c", conn_info=b'{"n":1}', chan_info=b'{"r":2}'
            ),
            offset=1,
            tags=FULL.tags,
            delta=delta,
            epoch="ep",
            version=9,
        ),
    )


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("form", [JSON, UNI_JSON, PROTOBUF, UNI_PROTOBUF])
def test_the_hot_encoder_writes_what_the_schema_says(
    form: WireForm, delta: bool
) -> None:
    """The hand-written encoder and the general one agree on every field."""
    data = b'"p"' if delta else FULL.data
    ours = encode_publication(form, "news", FULL, data=data, epoch="ep", delta=delta)
    general = encode_push(form, _push(delta, data))
    if form.encoding is Encoding.JSON:
        assert json.loads(ours) == json.loads(general)
    elif form.unidirectional:
        assert pb.Push.FromString(ours) == pb.Push.FromString(general)
    else:
        assert pb.Reply.FromString(ours) == pb.Reply.FromString(general)


@pytest.mark.parametrize("form", [JSON, PROTOBUF])
def test_epoch_goes_with_the_first_publication_only(form: WireForm) -> None:
    """Later publications do not repeat the epoch, unstored ones have no offset."""
    second = Publication(b"1", 2)
    ours = encode_publication(form, "c", second, data=b"1", epoch="ep")
    assert b"ep" not in ours.replace(b"epoch", b"")
    unstored = encode_publication(JSON, "c", Publication(b"1"), data=b"1", epoch="")
    assert unstored == b'{"push":{"channel":"c","pub":{"data":1}}}'


def test_pings() -> None:
    """A ping is an empty message."""
    assert encode_ping(JSON) == b"{}"
    assert encode_ping(PROTOBUF) == b""


def test_quoted_data() -> None:
    """With deltas JSON clients take data as text; what is no text has no quotes."""
    assert quote_data(b'{"a":"\xc3\xa9\n"}') == b'"{\\"a\\":\\"\xc3\xa9\\n\\"}"'
    with pytest.raises(ForeignData):
        quote_data(b"\xff")
