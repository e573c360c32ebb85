from __future__ import annotations

from typing import Any

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tocsin.http2 import codec
from tocsin.http2.codec import ConnectionFault, ErrorCode


def parse(data: bytes) -> list[Any]:
    """The frames as the independent `hyperframe` library reads them."""
    frames: list[Any] = []  # each kind of frame has fields of its own
    view = memoryview(data)
    while view:
        frame, length = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + length])
        frames.append(frame)
        view = view[9 + length :]
    return frames


def test_frames_are_read_by_another_library() -> None:
    """Every frame that we make says to `hyperframe` what we meant."""
    settings, ack, window, reset, ping, goaway = parse(
        codec.encode_settings({1: 0, 4: 1 << 20})
        + codec.SETTINGS_ACK
        + codec.encode_window_update(3, 70_000)
        + codec.encode_reset(5, ErrorCode.CANCEL)
        + codec.encode_ping(b"12345678", ack=True)
        + codec.encode_goaway(7, ErrorCode.PROTOCOL_ERROR, b"why")
    )
    assert isinstance(settings, SettingsFrame)
    assert settings.settings == {1: 0, 4: 1 << 20}
    assert isinstance(ack, SettingsFrame)
    assert "ACK" in ack.flags
    assert isinstance(window, WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (3, 70_000)
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (5, 8)
    assert isinstance(ping, PingFrame)
    assert ping.opaque_data == b"12345678"
    assert isinstance(goaway, GoAwayFrame)
    assert (goaway.last_stream_id, goaway.error_code) == (7, 1)
    assert goaway.additional_data == b"why"


def test_a_long_block_is_continued() -> None:
    """A block over the frame size goes out in pieces, the last one marked."""
    block = bytes(range(256)) * 100
    frames = parse(codec.encode_headers(9, block, end_stream=True, max_frame=16_384))
    assert [type(f) for f in frames] == [HeadersFrame, ContinuationFrame]
    assert b"".join(f.data for f in frames) == block
    assert frames[0].flags == {"END_STREAM"}
    assert frames[1].flags == {"END_HEADERS"}


@pytest.mark.parametrize(
    "parse_one",
    [
        codec.parse_window_update,
        codec.parse_reset,
        codec.parse_ping,
        codec.parse_goaway,
        codec.parse_settings,
    ],
)
def test_wrong_sizes_are_frame_size_errors(parse_one) -> None:  # type: ignore[no-untyped-def] # five signatures
    """A fixed-size frame of another size ends the connection with that code."""
    with pytest.raises(ConnectionFault) as caught:
        parse_one(b"abcde")
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


def test_padding_and_priority_are_taken_off() -> None:
    """What is left is the fragment alone."""
    flags = codec.PADDED | codec.PRIORITY_FIELDS
    assert (
        codec.strip_headers(flags, b"\x02" + b"prior" + b"block" + b"\0\0") == b"block"
    )
    assert codec.strip_padding(0, b"data") == b"data"


@pytest.mark.parametrize("payload", [b"\x05data", b"\x04dat", b""])
def test_padding_longer_than_its_frame_is_refused(payload: bytes) -> None:
    """Padding that would eat more than the frame ends the connection."""
    with pytest.raises(ConnectionFault):
        codec.strip_padding(codec.PADDED, payload)


def test_error_names() -> None:
    """Codes that nobody registered are shown as numbers."""
    assert codec.error_name(8) == "CANCEL"
    assert codec.error_name(99) == "error 99"
