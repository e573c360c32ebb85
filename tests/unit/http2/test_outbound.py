"""What may be sent: windows, frame sizes and settings of the peer, to the last byte."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame

from tocsin.http2 import RequestHead, codec
from tocsin.http2.codec import ConnectionFault, ErrorCode
from tocsin.http2.exchange import Exchange
from tocsin.http2.outbound import Outbound

HEAD = RequestHead.build("POST", "https://h.example", "/send", {"x": "y"})
FRAME = codec.DEFAULT_MAX_FRAME
WINDOW = codec.DEFAULT_WINDOW
LARGEST = codec.MAX_WINDOW


class Sender:
    """An `Outbound` with what came out of it."""

    def __init__(self, *settings: tuple[int, int]) -> None:
        self.outbound = Outbound()
        self.outbound.apply(list(settings))
        self._next_id = 1

    def request(self, body: bytes, head: RequestHead = HEAD) -> int:
        stream, self._next_id = self._next_id, self._next_id + 2
        exchange = Exchange(head, body, lambda _: None, 10.0)
        self.outbound.request(stream, exchange)
        return stream

    def frames(self) -> list[Frame]:
        data = memoryview(self.outbound.take() if self.outbound.parts else b"")
        frames = []
        while data:
            frame, length = Frame.parse_frame_header(data[:9])
            frame.parse_body(data[9 : 9 + length])
            frames.append(frame)
            data = data[9 + length :]
        return frames

    def bodies(self) -> list[tuple[int, bytes, bool]]:
        """Stream, bytes and whether they are its last, of each DATA frame."""
        return [
            (frame.stream_id, frame.data, "END_STREAM" in frame.flags)
            for frame in self.frames()
            if isinstance(frame, DataFrame)
        ]

    def sent(self) -> int:
        return sum(len(data) for _, data, _ in self.bodies())


@pytest.mark.parametrize("size", [100, 1000, FRAME, FRAME + 1, 30_000])
def test_all_bodies_together_stay_within_the_connections_window(size: int) -> None:
    """To its last byte, and from then on only what the peer gives."""
    sender = Sender((codec.SETTING_INITIAL_WINDOW_SIZE, LARGEST))
    for _ in range(WINDOW // size + 4):
        sender.request(b"x" * size)
    assert sender.sent() == WINDOW
    for increment in (1, 2):
        sender.outbound.widen(0, increment)
        assert sender.sent() == increment


def test_only_the_last_piece_of_a_body_ends_its_stream() -> None:
    """Whether a frame or a window cut it."""
    sender = Sender()
    sender.request(b"x" * (2 * FRAME))
    assert [last for _, _, last in sender.bodies()] == [False, True]
    sender.outbound.apply([(codec.SETTING_INITIAL_WINDOW_SIZE, 3)])
    stream = sender.request(b"12345")
    assert sender.bodies() == [(stream, b"123", False)]
    sender.outbound.widen(stream, 1)
    assert sender.bodies() == [(stream, b"4", False)]
    sender.outbound.widen(stream, 1)
    assert sender.bodies() == [(stream, b"5", True)]


def test_changes_of_the_initial_window_add_up() -> None:
    """Each moves the windows of waiting bodies by its difference, below zero too."""
    sender = Sender((codec.SETTING_INITIAL_WINDOW_SIZE, 5))
    stream = sender.request(b"0123456789")
    assert sender.sent() == 5
    for size in (1, 3, 4):
        sender.outbound.apply([(codec.SETTING_INITIAL_WINDOW_SIZE, size)])
        assert sender.sent() == 0
    sender.outbound.widen(stream, 2)
    assert sender.bodies() == [(stream, b"5", False)]


def test_a_window_may_be_as_large_as_it_can_be() -> None:
    """2^31-1 is allowed, one more is not: for the connection, and by a setting."""
    sender = Sender()
    assert sender.outbound.widen(0, LARGEST - WINDOW) == 0
    with pytest.raises(ConnectionFault) as raised:
        sender.outbound.widen(0, 1)
    assert raised.value.code == ErrorCode.FLOW_CONTROL_ERROR
    Sender((codec.SETTING_INITIAL_WINDOW_SIZE, LARGEST))
    with pytest.raises(ConnectionFault) as raised:
        Sender((codec.SETTING_INITIAL_WINDOW_SIZE, LARGEST + 1))
    assert raised.value.code == ErrorCode.FLOW_CONTROL_ERROR


def test_a_streams_window_may_be_as_large_as_it_can_be() -> None:
    """What goes over it resets that stream, or by a setting ends the connection."""
    sender = Sender((codec.SETTING_INITIAL_WINDOW_SIZE, 0))
    stream = sender.request(b"x" * (WINDOW + 1))
    # Its window is what was given less what could be sent of it.
    assert sender.outbound.widen(stream, LARGEST) == 0
    assert sender.sent() == WINDOW
    assert sender.outbound.widen(stream, WINDOW) == 0
    assert sender.outbound.widen(stream, 0) == ErrorCode.PROTOCOL_ERROR
    assert sender.outbound.widen(stream, 1) == ErrorCode.FLOW_CONTROL_ERROR
    assert sender.outbound.widen(99, 1) == 0
    other = Sender((codec.SETTING_INITIAL_WINDOW_SIZE, 0))
    stream = other.request(b"x" * (WINDOW + 1))
    other.outbound.widen(stream, LARGEST)
    other.outbound.apply([(codec.SETTING_INITIAL_WINDOW_SIZE, WINDOW)])
    with pytest.raises(ConnectionFault) as raised:
        other.outbound.apply([(codec.SETTING_INITIAL_WINDOW_SIZE, WINDOW + 1)])
    assert raised.value.code == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    ("key", "value", "is_allowed"),
    [
        (codec.SETTING_MAX_FRAME_SIZE, FRAME - 1, False),
        (codec.SETTING_MAX_FRAME_SIZE, FRAME, True),
        (codec.SETTING_MAX_FRAME_SIZE, (1 << 24) - 1, True),
        (codec.SETTING_MAX_FRAME_SIZE, 1 << 24, False),
        (codec.SETTING_ENABLE_PUSH, 0, True),
        (codec.SETTING_ENABLE_PUSH, 1, True),
        (codec.SETTING_ENABLE_PUSH, 2, False),
        (codec.SETTING_HEADER_TABLE_SIZE, 4096, True),
        (0x99, 1 << 31, True),
    ],
)
def test_settings_that_a_peer_may_have(key: int, value: int, is_allowed: bool) -> None:
    """The borders of RFC 9113 §6.5.2; what we do not know is passed over."""
    if is_allowed:
        Sender((key, value)).request(b"x")
    else:
        with pytest.raises(ConnectionFault) as raised:
            Sender((key, value))
        assert raised.value.code == ErrorCode.PROTOCOL_ERROR


def test_a_head_may_be_as_large_as_the_peer_says() -> None:
    """Any, where it says nothing."""
    exchange = Exchange(HEAD, b"", lambda _: None, 10.0)
    assert Outbound().accepts(exchange)
    size = HEAD.list_size
    for limit, accepted in ((size - 1, False), (size, True), (size + 1, True)):
        sender = Sender((codec.SETTING_MAX_HEADER_LIST_SIZE, limit))
        assert sender.outbound.accepts(exchange) is accepted


def test_only_so_many_answers_are_owed_in_one_write() -> None:
    """A thousand, and as many again once they are written."""
    outbound = Outbound()
    for _ in range(2):
        for _ in range(1000):
            outbound.reply(b"pong")
        outbound.take()
    for _ in range(1000):
        outbound.reply(b"pong")
    with pytest.raises(ConnectionFault) as raised:
        outbound.reply(b"pong")
    assert raised.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_what_is_forgotten_is_not_sent_when_the_window_opens() -> None:
    """Of that stream alone; and whether anything of it was left is told."""
    sender = Sender((codec.SETTING_INITIAL_WINDOW_SIZE, 1))
    whole, first, second = (sender.request(body) for body in (b"w", b"ab", b"cd"))
    sender.frames()
    assert sender.outbound.forget(whole) is False
    assert sender.outbound.forget(first) is True
    assert sender.outbound.forget(first) is False
    for stream in (first, second):
        sender.outbound.widen(stream, 5)
    assert sender.bodies() == [(second, b"d", True)]


def test_the_peers_table_is_cleared_once() -> None:
    """Also before heads that are longer than a frame, and after new settings."""
    sender = Sender()
    long = RequestHead.build("POST", "https://h.example", "/", {"long": "v" * 30_000})
    for head in (long, long, HEAD):
        sender.outbound.apply([])
        sender.request(b"", head)
    heads = [each for each in sender.frames() if isinstance(each, HeadersFrame)]
    assert [each.data[:1] == b"\x20" for each in heads] == [True, False, False]
