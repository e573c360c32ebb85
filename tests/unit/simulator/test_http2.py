from __future__ import annotations

import asyncio
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.http2 import Http2Connection

HEADERS = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "x"),
    (":path", "/p?q=1"),
]


class FakeTransport:
    """Keeps what is written, for the peer to read."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed


class FakeSite:
    """Answers with what it was asked."""

    fast_path = ""
    fast_reply = Reply(200, b"fast")
    max_streams = 100
    goaway_after = 0

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.reply: Reply | None = None
        self.fast = 0

    def answer(self, request: Request) -> Reply:
        self.asked.append(request)
        return self.reply or Reply(200, request.body)

    def count_fast(self, count: int) -> None:
        self.fast += count


class Peer:
    """The h2 library as client of one connection."""

    def __init__(self, site: FakeSite) -> None:
        self.transport = FakeTransport()
        self.server = Http2Connection(cast("asyncio.Transport", self.transport), site)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []

    def request(self, body: bytes, headers: list[Any] | None = None) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers or HEADERS, end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        return stream

    def exchange(self, piece: int = 1 << 20) -> list[h2.events.Event]:
        """Carry bytes both ways until nobody has any left."""
        fresh: list[h2.events.Event] = []
        while True:
            data = self.h2.data_to_send()
            for start in range(0, len(data), piece):
                self.server.receive(data[start : start + piece])
            written, self.transport.written = self.transport.written, b""
            if not data and not written:
                self.events += fresh
                return fresh
            fresh += self.h2.receive_data(written)

    def bodies(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for event in self.events:
            if isinstance(event, h2.events.DataReceived):
                found.setdefault(event.stream_id, b"")
                found[event.stream_id] += event.data
        return found


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_requests_are_answered_however_bytes_arrive(piece: int) -> None:
    """Bodies and headers survive any cut of the byte stream."""
    site = FakeSite()
    peer = Peer(site)
    streams = [peer.request(b"body %d" % number) for number in range(3)]
    peer.exchange(piece)
    assert peer.bodies() == {
        stream: b"body %d" % number for number, stream in enumerate(streams)
    }
    assert [(one.method, one.path, one.query) for one in site.asked] == [
        ("POST", "/p", "q=1")
    ] * 3


def test_headers_survive_a_changing_table() -> None:
    """The memory of header blocks never gives an old meaning to new bytes."""
    site = FakeSite()
    peer = Peer(site)
    for number in (*range(80), *range(80)):
        peer.request(b"", [*HEADERS, (f"x-{number}", "v" * 100)])
        peer.exchange()
    names = [next(n for n in one.headers if n[0] == "x") for one in site.asked]
    assert names == [f"x-{number}" for number in (*range(80), *range(80))]


def test_large_bodies_flow_both_ways_within_windows() -> None:
    """A body above every default window goes in and comes out whole."""
    site = FakeSite()
    peer = Peer(site)
    peer.exchange()
    stream = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(stream, HEADERS)
    body = bytes(range(256)) * 1200
    for start in range(0, len(body), 16384):
        part = body[start : start + 16384]
        peer.h2.send_data(stream, part, end_stream=start + 16384 >= len(body))
        for event in peer.exchange():
            if isinstance(event, h2.events.DataReceived):
                length = event.flow_controlled_length
                peer.h2.acknowledge_received_data(length, stream)
    while sum(map(len, peer.bodies().values())) < len(body):
        fresh = peer.exchange()
        assert fresh, "the server stopped though the window is open"
        for event in fresh:
            if isinstance(event, h2.events.DataReceived):
                length = event.flow_controlled_length
                peer.h2.acknowledge_received_data(length, stream)
    assert peer.bodies()[stream] == body


def test_a_stream_above_the_limit_is_refused() -> None:
    """Once the peer has acknowledged the limit it is enforced."""
    site = FakeSite()
    site.max_streams = 2
    site.reply = Reply(0, ending=Ending.SILENCE)
    peer = Peer(site)
    peer.exchange()
    assert peer.h2.remote_settings.max_concurrent_streams == 2
    # The h2 library keeps to the limit, so it is told another one.
    code = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
    peer.h2.remote_settings[code] = 100
    peer.h2.remote_settings.acknowledge()
    for _ in range(3):
        peer.request(b"x")
    resets = [e for e in peer.exchange() if isinstance(e, h2.events.StreamReset)]
    assert [(e.stream_id, int(e.error_code)) for e in resets] == [(5, 7)]
    assert len(site.asked) == 2


def test_goaway_names_the_last_stream_and_ignores_later_ones() -> None:
    """What came after the announced last stream is never handled."""
    site = FakeSite()
    site.goaway_after = 2
    peer = Peer(site)
    streams = [peer.request(b"x") for _ in range(5)]
    fresh = peer.exchange()
    gone = [e for e in fresh if isinstance(e, h2.events.ConnectionTerminated)]
    assert [e.last_stream_id for e in gone] == [streams[1]]
    assert len(site.asked) == 2
    assert peer.transport.closed


def test_a_goodbye_leaves_its_request_to_be_sent_again() -> None:
    """GOAWAY below the request, with the reply's body as debug data."""
    site = FakeSite()
    peer = Peer(site)
    streams = [peer.request(b"x")]
    peer.exchange()
    site.reply = Reply(0, b"bye", ending=Ending.GOODBYE)
    streams += [peer.request(b"x"), peer.request(b"x")]
    fresh = peer.exchange()
    (gone,) = [e for e in fresh if isinstance(e, h2.events.ConnectionTerminated)]
    assert gone.last_stream_id is not None
    assert streams[0] <= gone.last_stream_id < streams[1]
    assert gone.additional_data == b"bye"
    assert len(site.asked) == 2
    assert peer.transport.closed


def test_the_fast_path_may_be_a_prefix() -> None:
    """A service with a path per device is answered unread too; others are not."""
    site = FakeSite()
    site.fast_path = "/3/device/"
    peer = Peer(site)
    for path in ("/3/device/00", "/3/device/ff", "/3/devices"):
        peer.request(b"x", [*HEADERS[:3], (":path", path)])
    peer.exchange()
    assert site.fast == 2
    assert [request.path for request in site.asked] == ["/3/devices"]


def test_a_changed_limit_is_announced() -> None:
    """SETTINGS follow while the connection lives."""
    site = FakeSite()
    peer = Peer(site)
    peer.exchange()
    site.max_streams = 5
    peer.server.settings_changed()
    peer.exchange()
    assert peer.h2.remote_settings.max_concurrent_streams == 5


def test_ping_is_answered() -> None:
    """A keep-alive gets its acknowledgement."""
    peer = Peer(FakeSite())
    peer.exchange()
    peer.h2.ping(b"12345678")
    acks = [e for e in peer.exchange() if isinstance(e, h2.events.PingAckReceived)]
    assert [e.ping_data for e in acks] == [b"12345678"]


def test_fast_answers_are_counted_and_constant() -> None:
    """The fast path answers unread, also when the window is too small for it."""
    site = FakeSite()
    site.fast_path = "/p?q=1"
    peer = Peer(site)
    first = peer.request(b"x")
    peer.exchange()
    window = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
    peer.h2.update_settings({window: 1})
    second = peer.request(b"x")
    peer.exchange()
    peer.h2.increment_flow_control_window(100, second)
    peer.exchange()
    assert peer.bodies() == {first: b"fast", second: b"fast"}
    assert (site.fast, site.asked) == (2, [])


def test_headers_of_a_reply_reach_the_peer() -> None:
    """Status, content type, and values longer than one length byte."""
    site = FakeSite()
    site.reply = Reply(429, b"{}", headers=(("retry-after", "7"), ("x", "y" * 400)))
    peer = Peer(site)
    peer.request(b"x")
    answered = [e for e in peer.exchange() if isinstance(e, h2.events.ResponseReceived)]
    headers = dict(cast("Any", answered[0].headers))
    assert headers[":status"] == "429"
    assert headers["content-type"].startswith("application/json")
    assert (headers["retry-after"], headers["x"]) == ("7", "y" * 400)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n........",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\1\1\4\0\0\0\1\xbf",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\1\0\1\0\0\0\1x",
    ],
)
def test_a_broken_peer_is_told_and_left(rubbish: bytes) -> None:
    """A violation ends the connection with GOAWAY, not with an exception."""
    peer = Peer(FakeSite())
    peer.transport.written = b""
    peer.server.receive(rubbish)
    assert peer.transport.closed
    assert peer.transport.written[3] == 0x7


async def test_a_late_answer_comes_and_a_cancelled_one_does_not() -> None:
    """A delayed reply waits on a timer that a reset of the stream takes away."""
    site = FakeSite()
    site.reply = Reply(200, b"late", delay_s=0.01)
    peer = Peer(site)
    first, second = peer.request(b"x"), peer.request(b"x")
    peer.exchange()
    assert len(site.asked) == 2
    peer.h2.reset_stream(second)
    peer.exchange()
    async with asyncio.timeout(5):
        while first not in peer.bodies():
            await asyncio.sleep(0.005)
            peer.exchange()
    assert second not in peer.bodies()
