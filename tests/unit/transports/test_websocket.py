"""How much of a client's bytes is taken at once, over a socket that is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from tests.support.raw_websocket import masked
from tests.support.sessions import run_until

from tocsin.hub.share import AT_ONCE, SMALL_BYTES
from tocsin.sessions.context import Context
from tocsin.sessions.session import Session
from tocsin.transports.uni_websocket import (
    _SINGLE,
    UniWebSocketLink,
    UniWebSocketSettings,
)
from tocsin.transports.websocket import (
    _JSON,
    BYTES_AT_ONCE,
    FRAMES_AFTER_CLOSE,
    FRAMES_AT_ONCE,
    FRAMES_BEFORE_CONNECT,
    WebSocketLink,
    WebSocketSettings,
)
from tocsin.transports.websocket_codec import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    build_frame,
)

CONNECT = masked(TEXT, b'{"id":1,"connect":{}}')
Node = Callable[..., Context]


class Transport:
    """What a link asks of its socket."""

    def __init__(self) -> None:
        self.written = b""
        self.is_reading = True
        self.is_closed = self.is_aborted = False

    def get_protocol(self) -> asyncio.Protocol:
        return asyncio.Protocol()

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


class Client:
    """A link, its session and its socket."""

    def __init__(self, context: Context, *, one_way: bool = False) -> None:
        self.transport = Transport()
        self.context = context
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        transport = cast("Any", self.transport)
        if one_way:
            uni = UniWebSocketSettings()
            self.link: WebSocketLink = UniWebSocketLink(context, uni, transport, ended)
        else:
            usual = WebSocketSettings()
            self.link = WebSocketLink(context, usual, transport, ended)
        traits = _SINGLE if one_way else _JSON
        self.session = self.link.session = Session(
            context, self.link, traits, header_user=""
        )
        self.session.open()

    async def connect(self) -> None:
        self.link.data_received(CONNECT)
        await self.context.hub.settle()
        assert b'"connect"' in self.transport.written
        self.transport.written = b""

    def pongs(self) -> int:
        """How many pings are answered by now."""
        self.context.hub.turn.flush()
        return self.transport.written.count(build_frame(PONG, b"p"))


async def test_pings_are_answered_share_by_share(node: Node) -> None:
    """With more to take the socket is left alone; all are answered, then it is read."""
    client = Client(node())
    await client.connect()
    client.link.data_received(masked(PING, b"p") * 1000)
    assert client.pongs() == FRAMES_AT_ONCE
    assert not client.transport.is_reading
    await run_until(lambda: client.pongs() == 1000)
    assert client.transport.is_reading
    client.link.data_received(masked(PING, b"p"))
    assert client.pongs() == 1001


EMPTY_PART = bytes((CONTINUATION,)) + masked(CONTINUATION, b"")[1:]
FLOODS = {
    "pongs": masked(PONG, b"") * 1000,
    "parts": bytes((TEXT,)) + masked(TEXT, b"{")[1:] + EMPTY_PART * 1000,
    "commands": masked(TEXT, b'{"id":5,"rpc":{}}') * 1000,
    "bytes": masked(TEXT, b'{"id":5,"rpc":{"data":"%b"}}' % (b"x" * 20_000)) * 10,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_any_frame_counts(node: Node, flood: bytes) -> None:
    """Also one that is nothing to do for anybody."""
    client = Client(node())
    await client.connect()
    client.link.data_received(flood)
    assert not client.transport.is_reading
    await run_until(lambda: client.transport.is_reading)
    assert not client.transport.is_closed


async def test_a_share_is_bounded_in_bytes(node: Node) -> None:
    """Long messages are fewer at once."""
    client = Client(node())
    await client.connect()
    text = b'{"id":5,"rpc":{"data":"%b"}}' % (b"x" * (BYTES_AT_ONCE // 2))
    client.link.data_received(masked(TEXT, text) * 10)
    assert client.session._inbox is not None
    assert len(client.session._inbox) == 2
    await run_until(lambda: client.transport.written.count(b'"id":5') == 10)


async def test_many_that_flood_take_turns(node: Node) -> None:
    """Few are read in one turn; what is small comes between them at once."""
    context = node()
    flooding = [Client(context) for _ in range(5 * AT_ONCE)]
    good = Client(context)
    for each in (*flooding, good):
        await each.connect()
    data = masked(PING, b"p") * 1000
    assert len(data) > SMALL_BYTES
    for each in flooding:
        each.link.data_received(data)
    assert sum(each.pongs() for each in flooding) == AT_ONCE * FRAMES_AT_ONCE
    assert not any(each.transport.is_reading for each in flooding)
    good.link.data_received(masked(PING, b"p"))
    assert good.pongs() == 1
    assert good.transport.is_reading
    await run_until(lambda: all(each.pongs() == 1000 for each in flooding))


@pytest.mark.parametrize("one_way", [False, True])
async def test_much_before_the_connect_ends_it(node: Node, one_way: bool) -> None:
    """By code 3013, and with a line that says why; nothing more is looked at."""
    client = Client(node(), one_way=one_way)
    client.link.data_received(masked(PING, b"p") * FRAMES_BEFORE_CONNECT)
    await run_until(lambda: client.transport.is_reading)
    assert not client.link.is_shut
    with capture_logs() as lines:
        client.link.data_received(masked(PING, b"p") * 100_000)
        await run_until(lambda: client.transport.is_aborted)
    close = client.transport.written.rpartition(b"\x0b\xc5too many requests")
    assert close[1]
    assert close[0][-2] == 0x80 | CLOSE
    assert client.pongs() <= FRAMES_BEFORE_CONNECT + FRAMES_AT_ONCE
    (line,) = lines
    assert (line["event"], line["code"]) == ("client refused", 3013)
    assert line["reason"] == "too many requests"
    assert line["detail"] == "it sent too much before its connect"


async def test_a_connected_client_may_send_as_much_as_it_likes(node: Node) -> None:
    """The limit is for those whom nobody knows."""
    client = Client(node())
    await client.connect()
    client.link.data_received(masked(PING, b"p") * (FRAMES_BEFORE_CONNECT + 1))
    await run_until(lambda: client.pongs() == FRAMES_BEFORE_CONNECT + 1)
    assert not client.link.is_shut


async def test_who_goes_on_after_a_close_is_cut_off(node: Node) -> None:
    """A client gets its time to answer a close frame, but not to flood."""
    client = Client(node())
    client.link.data_received(b"\x80\x00")  # not masked
    assert client.link.is_shut
    client.link.data_received(masked(PING, b"") * FRAMES_AFTER_CLOSE)
    await run_until(lambda: client.transport.is_reading)
    assert not client.transport.is_closed
    client.link.data_received(masked(PING, b""))
    assert client.transport.is_aborted


async def test_the_order_of_commands_stays(node: Node) -> None:
    """However they come: in frames of many, and cut into shares."""
    client = Client(node())
    await client.connect()
    numbers = range(10, 1000)
    lines = [b'{"id":%d,"rpc":{}}' % number for number in numbers]
    frames = [b"\n".join(lines[at : at + 70]) for at in range(0, len(lines), 70)]
    client.link.data_received(b"".join(masked(TEXT, each) for each in frames))
    await run_until(lambda: b'"id":999' in client.transport.written)
    pieces = client.transport.written.split(b'"id":')[1:]
    found = [json.loads(piece.partition(b",")[0]) for piece in pieces]
    assert found == list(numbers)
    await run_until(lambda: client.transport.is_reading)
