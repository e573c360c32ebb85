"""Client frames as bytes ⇄ messages, in JSON and in Protobuf. Part of `protocol`.

Pure: it must not know sockets, subscribers, or what a command does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from tocsin.core.channel import ClientInfo, Publication
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.json_codec import CLIENT
from tocsin.protocol.json_text import (
    WHITE,
    ForeignData,
    JsonFault,
    check_utf8,
    scan,
    skip_space,
    write_string,
)

M = TypeVar("M", bound=Message)

__all__ = [
    "BadFrame",
    "Encoding",
    "ForeignData",
    "WireForm",
    "decode_commands",
    "decode_connect_request",
    "encode_message",
    "encode_ping",
    "encode_publication",
    "encode_push",
    "quote_data",
    "read_varint",
    "write_varint",
]


class BadFrame(Exception):
    """A client sent bytes that are not messages of the protocol."""


class Encoding(Enum):
    """How messages are written."""

    JSON = "json"
    PROTOBUF = "protobuf"


@dataclass(frozen=True, slots=True, eq=False)
class WireForm:
    """How messages become bytes on one kind of connection.

    Connections with the same form get the same bytes. `frame` wraps an encoded message;
    framed messages of a `joinable` form may be written one after the other in one
    piece. `transport` is the name in metrics. Forms are compared by identity, which is
    fast: a transport makes each of its forms once.
    """

    name: str
    encoding: Encoding
    frame: Callable[[bytes], bytes]
    unidirectional: bool = False
    joinable: bool = True
    transport: str = ""


def write_varint(value: int) -> bytes:
    """An unsigned number in base 128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends; raises `BadFrame`."""
    value = shift = 0
    while shift < 64:  # as Protobuf: ten bytes of seven bits at most
        if at >= len(data):
            raise BadFrame("length is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BadFrame("length is too long")


def decode_commands(encoding: Encoding, data: bytes) -> Iterator[pb.Command]:
    """The commands of one frame, in order.

    Raises `BadFrame` at the first command that cannot be read, after those before it.
    """
    if not data:
        raise BadFrame("empty frame")
    # Generators: a session reads the commands of a long frame in several turns.
    if encoding is Encoding.JSON:
        return _decode_json(data)
    return _decode_protobuf(data)


def _decode_json(data: bytes) -> Iterator[pb.Command]:
    """Objects one after another; SDKs write one on each line."""
    if data == b"{}":  # a pong, the most frequent frame
        yield pb.Command()
        return
    data = _checked(data)
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        try:
            command = CLIENT.read(pb.Command, data[at:end])
        except JsonFault:
            # The line holds several objects, or a part of one, or no command at all.
            yield from _decode_unlined(data[at:].decode())
            return
        yield command
        at = skip_space(data, end)


def _decode_unlined(text: str) -> Iterator[pb.Command]:
    at = 0
    while at < len(text):
        try:
            _, end = scan(text, at)
        except (ValueError, RecursionError) as error:
            raise BadFrame(type(error).__name__) from None
        yield _read_json(pb.Command, text[at:end].encode())
        at = skip_space(text, end)


def _checked(data: bytes) -> bytes:
    try:
        check_utf8(data)
    except JsonFault:
        raise BadFrame("not UTF-8") from None
    if not (data := data.strip(WHITE)):
        raise BadFrame("empty frame")
    return data


def _read_json(kind: type[M], data: bytes) -> M:
    try:
        return CLIENT.read(kind, data)
    except JsonFault as fault:
        raise BadFrame(str(fault)) from None


def _decode_protobuf(data: bytes) -> Iterator[pb.Command]:
    at = 0
    while at < len(data):
        size, at = read_varint(data, at)
        if size > len(data) - at:
            raise BadFrame("message is cut off")
        command = pb.Command()
        _parse(command, data[at : at + size])
        at += size
        yield command


def _parse(message: Message, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise BadFrame("not Protobuf") from None


def decode_connect_request(encoding: Encoding, data: bytes) -> pb.ConnectRequest:
    """The first frame of a one-way connection: a bare connect request."""
    if encoding is Encoding.JSON:
        return _read_json(pb.ConnectRequest, _checked(data))
    request = pb.ConnectRequest()
    _parse(request, data)
    return request


def encode_message(encoding: Encoding, message: Message) -> bytes:
    """One message, not framed; raises `ForeignData`."""
    if encoding is Encoding.PROTOBUF:
        return message.SerializeToString()
    return CLIENT.write(message)


def encode_push(form: WireForm, push: pb.Push) -> bytes:
    """A push, framed; in a `Reply`, or bare where the form is one-way."""
    if form.unidirectional:
        return form.frame(encode_message(form.encoding, push))
    return form.frame(encode_message(form.encoding, pb.Reply(push=push)))


def encode_ping(form: WireForm) -> bytes:
    """An empty message, framed."""
    return form.frame(b"" if form.encoding is Encoding.PROTOBUF else b"{}")


def quote_data(data: bytes) -> bytes:
    """Text as a JSON string, the form of data for a connection with deltas in JSON.

    Raises `ForeignData` when it is not UTF-8.
    """
    try:
        return write_string(data.decode())
    except UnicodeDecodeError:
        raise ForeignData from None


def encode_publication(
    form: WireForm,
    channel: str,
    publication: Publication,
    *,
    data: bytes,
    epoch: str,
    delta: bool = False,
) -> bytes:
    """The push of a publication, framed; JSON is put together by hand, for speed.

    `data` takes the place of the publication's own. In JSON it is embedded unchecked:
    the caller makes sure that it is JSON. `epoch` is written with the first publication
    of a stream only.
    """
    if form.encoding is Encoding.PROTOBUF:
        message = publication_message(publication, epoch, data=data)
        message.delta = delta
        return encode_push(form, pb.Push(channel=channel, pub=message))
    tail = b"".join(_json_parts(publication, epoch, delta))
    push = b'{"channel":%b,"pub":{"data":%b%b}}' % (write_string(channel), data, tail)
    return form.frame(push if form.unidirectional else b'{"push":' + push + b"}")


def _json_parts(publication: Publication, epoch: str, delta: bool) -> Iterator[bytes]:
    if publication.info is not None:
        yield b',"info":' + CLIENT.write(info_message(publication.info))
    if publication.offset:
        yield b',"offset":%d' % publication.offset
    if publication.tags:
        pairs = publication.tags.items()
        inner = b",".join(write_string(k) + b":" + write_string(v) for k, v in pairs)
        yield b',"tags":{' + inner + b"}"
    if delta:
        yield b',"delta":true'
    if publication.offset == 1 and epoch:
        yield b',"epoch":' + write_string(epoch)
    if publication.version:
        yield b',"version":%d' % publication.version


def info_message(info: ClientInfo) -> pb.ClientInfo:
    """Client info in its wire form."""
    return pb.ClientInfo(
        user=info.user,
        client=info.client,
        conn_info=info.conn_info,
        chan_info=info.chan_info,
    )


def publication_message(
    publication: Publication, epoch: str, *, data: bytes | None = None
) -> pb.Publication:
    """A publication in its wire form; `data` may stand in for its own."""
    return pb.Publication(
        data=publication.data if data is None else data,
        info=None if publication.info is None else info_message(publication.info),
        offset=publication.offset,
        tags=publication.tags,
        epoch=epoch if publication.offset == 1 else "",
        version=publication.version,
    )
