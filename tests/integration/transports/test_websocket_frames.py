"""RFC 6455 as raw bytes over a real socket: what is refused, how, and what is not."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from tests.support.raw_websocket import RawWebSocket, masked
from tests.support.realtime import build_context, running_node

from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import read_varint, write_varint
from tocsin.transports.websocket_codec import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
)


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
) -> bytes:
    """A client's frame, with any first byte."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    return bytes((first,)) + masked(opcode, payload)[1:]


def closing(code: int, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return frame(CLOSE, code.to_bytes(2) + reason)


PARTS = {  # what may not come in the middle of a message, and what may not begin one
    "text within a message": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "binary within a message": frame(TEXT, b"{", fin=False) + frame(BINARY, b"}"),
    "another start within a message": frame(TEXT, b"{", fin=False) * 2,
    "lonely end": frame(CONTINUATION, b"x"),
    "lonely middle": frame(CONTINUATION, b"x", fin=False),
}
HALF = "é".encode()
FRAMES: list[tuple[str, bytes, tuple[int, str]]] = [
    *((name, data, (1002, "fragments are")) for name, data in PARTS.items()),
    *(
        (f"reserved bit {bit}", frame(TEXT, b"{}", rsv=bit), (1002, "reserved bits"))
        for bit in (1, 2, 4)
    ),
    ("reserved bit on a ping", frame(PING, rsv=4), (1002, "reserved bits are set")),
    *(
        (f"opcode {code}", frame(code), (1002, "reserved opcode"))
        for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    ("ping of 126 bytes", frame(PING, b"x" * 126), (1002, "control frame is too")),
    ("pong of 126 bytes", frame(PONG, b"x" * 126), (1002, "control frame is too")),
    ("close of 126 bytes", closing(1000, b"x" * 124), (1002, "control frame is too")),
    ("fragmented pong", frame(PONG, fin=False), (1002, "control frame is frag")),
    ("fragmented close", frame(CLOSE, fin=False), (1002, "control frame is frag")),
    ("not masked within", frame(TEXT, b"{", fin=False) + b"\x80\x01}", (1002, "frame")),
    ("negative length", b"\x81\xff" + b"\xff" * 12, (1002, "length is negative")),
    ("only announced", b"\x81\xff" + (2**40).to_bytes(8) + b"mask", (1009, "message")),
    (
        "too big in fragments",
        frame(TEXT, b" " * 65_000, fin=False) + frame(CONTINUATION, b" " * 600),
        (1009, "message is too big"),
    ),
    ("half a character", frame(TEXT, HALF[:1]), (1007, "text is not UTF-8")),
    ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), (1007, "text is not UTF-8")),
    ("overlong", frame(TEXT, b"\xc0\x80"), (1007, "text is not UTF-8")),
    ("beyond Unicode", frame(TEXT, b"\xf4\x90\x80\x80"), (1007, "text is not UTF-8")),
    (
        "broken character over fragments",
        frame(TEXT, HALF[:1], fin=False) + frame(PING) + frame(CONTINUATION, b"x"),
        (1007, "text is not UTF-8"),
    ),
    ("close of one byte", frame(CLOSE, b"\x03"), (1002, "close frame with a bad")),
    ("close with a reason", closing(1001, "gë".encode()), (1001, "")),
    ("close that is no text", closing(1000, b"\xff"), (1007, "text is not UTF-8")),
    *(
        (f"close {code}", closing(code), (1002, "close frame with a bad"))
        for code in (0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65_535)
    ),
    *(
        (f"close {code}", closing(code), (code, ""))
        for code in (1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999)
    ),
    (
        "close within a message",
        frame(TEXT, b"{", fin=False) + closing(1000) + frame(CONTINUATION, b"}"),
        (1000, ""),
    ),
    ("what follows a close", closing(1000) + frame(TEXT, b"x") * 5, (1000, "")),
    ("longest ping, then a close", frame(PING, b"p" * 125) + closing(1000), (1000, "")),
    ("not masked", b"\x81\x02{}", (1002, "frame is not masked")),
    ("reserved bits", b"\xf1\x80\0\0\0\0", (1002, "reserved bits are set")),
    ("reserved opcode", b"\x83\x80\0\0\0\0", (1002, "reserved opcode")),
    ("fragmented ping", b"\x09\x80\0\0\0\0", (1002, "control frame is fragmented")),
    ("lonely continuation", masked(CONTINUATION, b"x"), (1002, "fragments are")),
    ("no UTF-8", masked(TEXT, b"\xff"), (1007, "text is not UTF-8")),
    ("too big", masked(TEXT, b"x" * 70_000), (1009, "message is too big")),
    ("empty text", masked(TEXT, b""), (3501, "bad request")),
    ("nonsense", masked(TEXT, b"hello"), (3501, "bad request")),
    ("nonsense in binary", masked(BINARY, b"\xff"), (3501, "bad request")),
    ("command before connect", masked(TEXT, b'{"id":1,"rpc":{}}'), (3501, "bad r")),
    ("pong before connect", masked(TEXT, b"{}"), (3501, "bad request")),
    ("close", masked(CLOSE, (1000).to_bytes(2)), (1000, "")),
    ("close without code", masked(CLOSE, b""), (0, "")),
    ("close with a bad code", masked(CLOSE, (1005).to_bytes(2)), (1002, "close")),
    ("ping then close", masked(PING, b"p") + masked(CLOSE, b"\x0b\xb8"), (3000, "")),
]


@pytest.mark.parametrize(
    ("data", "expected"), [row[1:] for row in FRAMES], ids=[row[0] for row in FRAMES]
)
async def test_frames_that_end_a_connection(
    data: bytes, expected: tuple[int, str]
) -> None:
    """Each has its close code, and ends its own connection only."""
    async with running_node(build_context()) as node:
        other = await RawWebSocket.open(node.port)
        await other.connect()
        client = await RawWebSocket.open(node.port)
        client.writer.write(data)
        code, reason = await client.read_close()
        assert code == expected[0]
        assert reason.startswith(expected[1])
        if reason:  # else it has sent its close
            client.writer.write(masked(CLOSE, code.to_bytes(2)))
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""
        await other.send('{"id":3,"rpc":{}}')
        assert b'"code":108' in (await other.read_frame())[1]
        await client.close()
        await other.close()


COMMAND = '{"id":1,"connect":{"name":"é"}}'.encode()
CUT = COMMAND.index(HALF) + 1
FIRST, SECOND = COMMAND[:CUT], COMMAND[CUT:]
PADDED = COMMAND + b" " * (65_536 - len(COMMAND))
GOOD: list[tuple[str, bytes]] = [
    ("one frame", frame(TEXT, COMMAND)),
    ("binary", frame(BINARY, COMMAND)),
    (
        "a character over fragments",
        frame(TEXT, FIRST, fin=False) + frame(CONTINUATION, SECOND),
    ),
    (
        "a byte in each fragment",
        frame(TEXT, fin=False)
        + b"".join(frame(CONTINUATION, bytes((b,)), fin=False) for b in COMMAND)
        + frame(CONTINUATION),
    ),
    (
        "control frames between fragments",
        frame(TEXT, FIRST, fin=False)
        + frame(PONG, b"nobody asked")
        + frame(CONTINUATION, fin=False)
        + frame(PONG)
        + frame(CONTINUATION, SECOND),
    ),
    (
        "length in more bytes than needed",
        b"\x81\xff" + len(COMMAND).to_bytes(8) + masked(TEXT, COMMAND)[2:],
    ),
    ("as big as may be", frame(TEXT, PADDED)),
    (
        "as big as may be in fragments",
        frame(TEXT, PADDED[:40_000], fin=False) + frame(CONTINUATION, PADDED[40_000:]),
    ),
    ("pongs that nobody asked for", frame(PONG) * 3 + frame(TEXT, COMMAND)),
]


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize("data", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
async def test_frames_that_make_a_command(data: bytes, step: int) -> None:
    """However a message is cut, framed and delivered, it is the same message."""
    if step == 1 and len(data) > 1000:
        step = 4093
    async with running_node(build_context()) as node:
        client = await RawWebSocket.open(node.port)
        client.writer.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        for at in range(0, len(data), step):
            client.writer.write(data[at : at + step])
            await asyncio.sleep(0)
        opcode, payload = await client.read_frame()
        assert opcode == TEXT
        assert json.loads(payload)["connect"]["client"]
        (member,) = node.context.hub.connected()
        assert member.describe()["app_name"] == "é"
        await client.close()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_protobuf_in_either_kind_of_frame(opcode: int) -> None:
    """The encoding is that of the handshake, the kind of a frame is not asked."""
    async with running_node(build_context()) as node:
        client = await RawWebSocket.open(node.port, query="?format=protobuf")
        command = pb.Command(id=1, connect=pb.ConnectRequest()).SerializeToString()
        client.writer.write(frame(opcode, write_varint(len(command)) + command))
        kind, payload = await client.read_frame()
        assert kind == BINARY
        size, at = read_varint(payload, 0)
        assert at + size == len(payload)
        assert pb.Reply.FromString(payload[at:]).connect.client
        await client.close()


async def test_pings_of_the_client() -> None:
    """A WebSocket ping is answered with its own bytes, also between fragments."""
    async with running_node(build_context()) as node:
        client = await RawWebSocket.open(node.port)
        command = b'{"id":1,"connect":{}}'
        first = bytearray(masked(TEXT, command[:5]))
        first[0] &= 0x7F
        client.writer.write(bytes(first) + masked(PING, b"are you there"))
        assert await client.read_frame() == (PONG, b"are you there")
        client.writer.write(masked(CONTINUATION, command[5:]))
        assert b"connect" in (await client.read_frame())[1]
        await client.close()
