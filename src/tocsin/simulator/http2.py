"""The HTTP/2 side of a simulator connection, written for many small answers.

It shares no code with the engine that it tests, so that a fault in one cannot hide
in the other. It must stay strict about stream limits and windows, as providers are.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque

from tocsin.simulator.exchange import Ending, Reply, Request, Site
from tocsin.simulator.header_blocks import (
    BrokenBlock,
    HeaderReader,
    encode_headers,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BODY_LIMIT = 1 << 20

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
_WINDOW_UPDATE, _CONTINUATION = 0x8, 0x9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 0x3, 0x4, 0x5
_INTERNAL_ERROR, _FLOW_CONTROL, _REFUSED_STREAM = 0x2, 0x3, 0x7
_PROTOCOL_ERROR, _COMPRESSION_ERROR, _FRAME_SIZE_ERROR = 0x1, 0x9, 0x6

_FRAME_SIZE = 16384
_DEFAULT_WINDOW = 65535
_STREAM_WINDOW = BODY_LIMIT
_CONNECTION_WINDOW = 1 << 24

_HEAD = struct.Struct(">HBBBI")  # length as 16 + 8 bits, type, flags, stream


class _Violation(Exception):
    """The peer broke the protocol; carries the code of our GOAWAY."""


class _Stream:
    """A request that is still coming in, or waits for its answer."""

    __slots__ = ("body", "headers", "size", "timer")

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.body: list[bytes] = []
        self.size = 0
        self.timer: asyncio.TimerHandle | None = None


class Http2Connection:
    """Takes bytes from one peer and writes the answers, once per batch of bytes."""

    def __init__(self, transport: asyncio.Transport, site: Site) -> None:
        self._transport = transport
        self._site = site
        self._buffer = b""
        self._greeted = False
        self._out: list[bytes] = []
        self._reader = HeaderReader()
        self._streams: dict[int, _Stream] = {}
        self._block: tuple[int, int, bytes] | None = None
        self._highest = self._handled = self._requests = 0
        # The last stream that GOAWAY still lets through, once it was said.
        self._closing_at: int | None = None
        self._limit = 0  # enforced once acknowledged; 0 none
        self._announced: deque[int] = deque()
        self._consumed = 0
        self._send_window = self._initial_window = _DEFAULT_WINDOW
        self._windows: dict[int, int] = {}  # what WINDOW_UPDATE added per stream
        self._unsent: dict[int, bytes] = {}
        self._fast = 0
        self._fast_frames = _FastFrames(site.fast_reply)
        self._announce()
        self._emit(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _CONNECTION_WINDOW))
        self._flush()

    # -- from the server -----------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        self._buffer = self._buffer + data if self._buffer else data
        try:
            self._read_frames()
        except _Violation as violation:
            code = violation.args[0]
            self._emit(_GOAWAY, 0, 0, struct.pack(">II", self._highest, code))
            self._flush()
            self._transport.close()
            return
        if self._fast:
            self._site.count_fast(self._fast)
            self._fast = 0
        # Given back in large parts, not with a frame for each message.
        if self._consumed > _CONNECTION_WINDOW // 4:
            self._emit(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._consumed))
            self._consumed = 0
        self._flush()
        self._close_if_drained()

    def settings_changed(self) -> None:
        """The site's stream limit may have moved: tell the peer."""
        self._announce()
        self._flush()

    def lost(self) -> None:
        """The socket is gone."""
        for stream in self._streams.values():
            if stream.timer is not None:
                stream.timer.cancel()
        self._streams.clear()

    # -- frames in -----------------------------------------------------------

    def _read_frames(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        if not self._greeted:
            if end < len(PREFACE):
                return
            if not buffer.startswith(PREFACE):
                raise _Violation(_PROTOCOL_ERROR)
            self._greeted, at = True, len(PREFACE)
        while end - at >= 9:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(buffer, at)
            length = high << 8 | low
            if length > _FRAME_SIZE:
                raise _Violation(_FRAME_SIZE_ERROR)
            if end - at - 9 < length:
                break
            payload = buffer[at + 9 : at + 9 + length]
            at += 9 + length
            # Nothing may come between the frames of one header block (RFC
            # 9113 §6.10).
            if self._block is not None and kind != _CONTINUATION:
                raise _Violation(_PROTOCOL_ERROR)
            if kind == _DATA:
                self._take_data(stream_id & 0x7FFFFFFF, flags, payload)
            elif kind == _HEADERS:
                self._take_headers(stream_id & 0x7FFFFFFF, flags, payload)
            else:
                self._take_other(kind, flags, stream_id & 0x7FFFFFFF, payload)
            if self._transport.is_closing():
                return
        self._buffer = buffer[at:]

    def _take_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        # Padding and ignored streams count for the connection's window, too.
        self._consumed += len(payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id > self._highest:
                raise _Violation(_PROTOCOL_ERROR)
            return
        if flags & _PADDED:
            payload = _strip_padding(payload)
        if flags & _END_STREAM and self._is_fast(stream):
            del self._streams[stream_id]
            self._answer_fast(stream_id)
            return
        stream.body.append(payload)
        stream.size += len(payload)
        if stream.size > BODY_LIMIT:
            del self._streams[stream_id]
            self._reset(stream_id, _FLOW_CONTROL)
        elif flags & _END_STREAM:
            self._handle(stream_id, stream)
        elif payload:
            self._emit(_WINDOW_UPDATE, 0, stream_id, struct.pack(">I", len(payload)))

    def _is_fast(self, stream: _Stream) -> bool:
        fast = self._site.fast_path
        return bool(fast) and stream.headers.get(":path", "").startswith(fast)

    def _take_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if flags & _PADDED:
            payload = _strip_padding(payload)
        if flags & _PRIORITY:
            payload = payload[5:]
        if flags & _END_HEADERS:
            self._open(stream_id, flags, payload)
        else:
            self._block = (stream_id, flags, payload)

    def _take_other(self, kind: int, flags: int, stream_id: int, body: bytes) -> None:
        if kind == _CONTINUATION:
            if self._block is None or self._block[0] != stream_id:
                raise _Violation(_PROTOCOL_ERROR)
            _, first_flags, block = self._block
            block += body
            if len(block) > BODY_LIMIT:
                raise _Violation(_PROTOCOL_ERROR)
            self._block = (stream_id, first_flags, block)
            if flags & _END_HEADERS:
                self._block = None
                self._open(stream_id, first_flags, block)
        elif kind == _SETTINGS:
            self._take_settings(flags, body)
        elif kind == _PING and not flags & _ACK:
            self._emit(_PING, _ACK, 0, body)
        elif kind == _WINDOW_UPDATE:
            self._take_window(stream_id, body)
        elif kind == _RST:
            self._forget(stream_id)

    def _take_settings(self, flags: int, body: bytes) -> None:
        if flags & _ACK:
            if self._announced:
                # Only now does the peer know the limit; before this it
                # may exceed it.
                self._limit = self._announced.popleft()
            return
        if len(body) % 6:
            raise _Violation(_FRAME_SIZE_ERROR)
        for name, value in struct.iter_unpack(">HI", body):
            if name == _INITIAL_WINDOW_SIZE:
                self._initial_window = value
        self._emit(_SETTINGS, _ACK, 0, b"")
        self._send_unsent()

    def _take_window(self, stream_id: int, body: bytes) -> None:
        if len(body) != 4:
            raise _Violation(_FRAME_SIZE_ERROR)
        amount = int.from_bytes(body, "big") & 0x7FFFFFFF
        if stream_id == 0:
            self._send_window += amount
        elif stream_id in self._streams or stream_id in self._unsent:
            self._windows[stream_id] = self._windows.get(stream_id, 0) + amount
        self._send_unsent()

    # -- requests ------------------------------------------------------------

    def _open(self, stream_id: int, flags: int, block: bytes) -> None:
        try:  # read it also where it is ignored: the table must stay in step
            headers = self._reader.read(block)
        except BrokenBlock:
            raise _Violation(_COMPRESSION_ERROR) from None
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id <= self._highest or not stream_id & 1:
                raise _Violation(_PROTOCOL_ERROR)
            self._highest = stream_id
            if self._closing_at is not None:
                return  # above GOAWAY's last stream: the peer must send it again
            if self._limit and len(self._streams) >= self._limit:
                self._reset(stream_id, _REFUSED_STREAM)
                return
            stream = self._streams[stream_id] = _Stream(headers)
        if flags & _END_STREAM:
            self._handle(stream_id, stream)

    def _handle(self, stream_id: int, stream: _Stream) -> None:
        headers = stream.headers
        path, _, query = headers.get(":path", "").partition("?")
        body = stream.body[0] if len(stream.body) == 1 else b"".join(stream.body)
        method = headers.get(":method", "")
        reply = self._site.answer(Request(method, path, query, headers, body))
        if reply.delay_s:
            loop = asyncio.get_running_loop()
            stream.timer = loop.call_later(reply.delay_s, self._late, stream_id, reply)
        else:
            self._answer(stream_id, reply)
        self._count_request(stream_id)

    def _count_request(self, stream_id: int) -> None:
        self._requests += 1
        self._handled = max(self._handled, stream_id)
        if self._site.goaway_after == self._requests:
            self._say_goodbye(self._handled)

    def _say_goodbye(self, last: int, debug: bytes = b"") -> None:
        if self._closing_at is not None:
            return
        self._closing_at = last
        for other in [key for key in self._streams if key > last]:
            self._forget(other)
        self._emit(_GOAWAY, 0, 0, struct.pack(">II", last, 0) + debug)

    def _late(self, stream_id: int, reply: Reply) -> None:
        self._answer(stream_id, reply)
        self._flush()
        self._close_if_drained()

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.timer is not None:
            stream.timer.cancel()
        self._unsent.pop(stream_id, None)
        self._windows.pop(stream_id, None)

    # -- answers -------------------------------------------------------------

    def _answer_fast(self, stream_id: int) -> None:
        # Too small a window for frames that are ready made: the slow way keeps
        # to it.
        if self._send_window < self._fast_frames.size or self._initial_window < 1024:
            self._answer(stream_id, self._site.fast_reply)
        else:
            self._send_window -= self._fast_frames.size
            self._out.append(self._fast_frames.build(stream_id))
        self._fast += 1
        self._count_request(stream_id)

    def _answer(self, stream_id: int, reply: Reply) -> None:
        if reply.ending is Ending.SILENCE:
            return
        if reply.ending is Ending.DROP:
            self._transport.abort()
            return
        self._streams.pop(stream_id, None)
        if reply.ending is Ending.GOODBYE:
            self._say_goodbye(stream_id - 1, reply.body)
            return
        if reply.ending is Ending.RESET:
            self._reset(stream_id, _INTERNAL_ERROR)
            return
        if reply.ending in (Ending.CUT, Ending.STALL):
            self._break_off(stream_id, reply)
            return
        flags = _END_HEADERS if reply.body else _END_HEADERS | _END_STREAM
        self._emit(_HEADERS, flags, stream_id, encode_headers(reply))
        if reply.body:
            self._unsent[stream_id] = reply.body
            self._send_unsent()

    def _break_off(self, stream_id: int, reply: Reply) -> None:
        """The head and half of the body; answers that are cut are small."""
        self._emit(_HEADERS, _END_HEADERS, stream_id, encode_headers(reply))
        half = reply.body[: len(reply.body) // 2][:_FRAME_SIZE]
        if half and len(half) <= self._send_window:
            self._send_window -= len(half)
            self._emit(_DATA, 0, stream_id, half)
        if reply.ending is Ending.CUT:
            self._reset(stream_id, _INTERNAL_ERROR)

    def _send_unsent(self) -> None:
        """Send what the windows allow, oldest answer first."""
        # A copy, since the loop deletes.
        for stream_id in list(self._unsent):
            body = self._unsent[stream_id]
            while body:
                window = self._initial_window + self._windows.get(stream_id, 0)
                room = min(_FRAME_SIZE, self._send_window, window)
                if room <= 0:
                    break
                part, body = body[:room], body[room:]
                self._send_window -= len(part)
                self._windows[stream_id] = self._windows.get(stream_id, 0) - len(part)
                self._emit(_DATA, 0 if body else _END_STREAM, stream_id, part)
            if body:
                self._unsent[stream_id] = body
            else:
                del self._unsent[stream_id]
                self._windows.pop(stream_id, None)

    def _reset(self, stream_id: int, code: int) -> None:
        self._emit(_RST, 0, stream_id, struct.pack(">I", code))

    def _announce(self) -> None:
        limit = self._site.max_streams
        self._announced.append(limit)
        settings = struct.pack(
            ">HIHIHI",
            *(_MAX_CONCURRENT_STREAMS, limit),
            *(_INITIAL_WINDOW_SIZE, _STREAM_WINDOW),
            *(_MAX_FRAME_SIZE, _FRAME_SIZE),
        )
        self._emit(_SETTINGS, 0, 0, settings)

    def _emit(self, kind: int, flags: int, stream_id: int, body: bytes) -> None:
        length = len(body)
        head = _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id)
        self._out.append(head + body)

    def _flush(self) -> None:
        if self._out and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _close_if_drained(self) -> None:
        if self._closing_at is not None and not (self._streams or self._unsent):
            self._transport.close()


def _strip_padding(payload: bytes) -> bytes:
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise _Violation(_PROTOCOL_ERROR)
    return payload[1 : len(payload) - padding]


class _FastFrames:
    """The constant answer, ready but for its stream number."""

    def __init__(self, reply: Reply) -> None:
        block, self.size = encode_headers(reply), len(reply.body)
        head = _HEAD.pack(0, len(block), _HEADERS, _END_HEADERS, 0)
        tail = _HEAD.pack(0, self.size, _DATA, _END_STREAM, 0)
        self._first = head[:5]
        self._second = block + tail[:5]
        self._third = reply.body

    def build(self, stream_id: int) -> bytes:
        number = stream_id.to_bytes(4, "big")
        return self._first + number + self._second + number + self._third
