"""The sending half of an HTTP/2 connection, without a socket, for the HTTP/2 room.

It joins all that is due into one write, and keeps to the peer's windows and frame
sizes. It does not know responses or deadlines, nor whether it is client or server.
"""

from __future__ import annotations

import struct

from tocsin.http2 import codec
from tocsin.http2.codec import ConnectionFault, ErrorCode
from tocsin.http2.exchange import Exchange, Unsent
from tocsin.http2.hpack import CLEAR_TABLE

_pack_stream = struct.Struct(">I").pack
_pack_head = codec.FRAME_HEAD.pack
# A peer that makes us owe more answers than this (to PING and SETTINGS) between two
# writes is attacking us.
_MAX_REPLIES = 1000
_NO_LIMIT = 1 << 62


class Outbound:
    """Bytes to write, the peer's settings that bound them, and bodies that wait."""

    __slots__ = (
        "_block_limit",
        "_initial_window",
        "_list_limit",
        "_max_frame",
        "_replies",
        "_table_cleared",
        "_unsent",
        "_window",
        "parts",
        "peer_streams",
    )

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.peer_streams = _NO_LIMIT
        self._window = codec.DEFAULT_WINDOW
        self._initial_window = codec.DEFAULT_WINDOW
        self._max_frame = codec.DEFAULT_MAX_FRAME
        self._list_limit = _NO_LIMIT
        self._unsent: dict[int, Unsent] = {}
        self._replies = 0
        self._table_cleared = False
        # Longer blocks take the slow path. Below zero until the first block has gone
        # out, which has to open with `CLEAR_TABLE`.
        self._block_limit = -1

    def take(self) -> bytes:
        """All that is due, once."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._replies = 0
        return data

    def accepts(self, exchange: Exchange) -> bool:
        """False when the peer said that such a header list is too large for it."""
        return exchange.head.list_size <= self._list_limit

    def request(self, stream: int, exchange: Exchange) -> None:
        """Queue a request: its head, and of its body what the windows let through."""
        head = exchange.head
        body = exchange.body
        block = head.block
        size = len(body)
        if len(block) > self._block_limit:
            self._request_slowly(stream, exchange)
        elif not size:
            self.parts += (head.closing, _pack_stream(stream), block)
        elif (
            size <= self._window
            and size <= self._initial_window
            and size <= self._max_frame
        ):
            # This overtakes no body that waits for the connection's window: while one
            # waits, that window is empty, so `size` does not fit.
            self._window -= size
            self.parts += (
                head.opening,
                _pack_stream(stream),
                block,
                _pack_head(size << 8, codec.END_STREAM, stream),
                body,
            )
        else:
            self.parts += (head.opening, _pack_stream(stream), block)
            self._queue_body(stream, body)

    def reply(self, frame: bytes) -> None:
        """Queue an answer that the peer asked for; too many end the connection."""
        self._replies += 1
        if self._replies > _MAX_REPLIES:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "a flood of frames that want answers"
            )
        self.parts.append(frame)

    def forget(self, stream: int) -> bool:
        """Drop the unsent rest of a body; True when there was one."""
        return bool(self._unsent) and self._unsent.pop(stream, None) is not None

    def widen(self, stream: int, increment: int) -> int:
        """A WINDOW_UPDATE came; returns the code to reset its stream with, or 0."""
        if not stream:
            self._window += increment
            if not increment or self._window > codec.MAX_WINDOW:
                raise _window_fault(increment)
            self._pump()
            return 0
        if not increment:
            return ErrorCode.PROTOCOL_ERROR
        rest = self._unsent.get(stream)
        if rest is not None:
            rest.window += increment
            if rest.window > codec.MAX_WINDOW:
                return ErrorCode.FLOW_CONTROL_ERROR
            self._push(stream, rest)
        return 0

    def apply(self, settings: list[tuple[int, int]]) -> None:
        """Take the peer's settings, in order; raises `ConnectionFault`."""
        for key, value in settings:
            if key == codec.SETTING_MAX_CONCURRENT_STREAMS:
                self.peer_streams = value
            elif key == codec.SETTING_INITIAL_WINDOW_SIZE:
                self._set_initial_window(value)
            elif key == codec.SETTING_MAX_FRAME_SIZE:
                if not codec.DEFAULT_MAX_FRAME <= value < 1 << 24:
                    raise _setting_fault("MAX_FRAME_SIZE", value)
                self._max_frame = value
            elif key == codec.SETTING_MAX_HEADER_LIST_SIZE:
                self._list_limit = value
            elif key == codec.SETTING_ENABLE_PUSH and value > 1:
                raise _setting_fault("ENABLE_PUSH", value)
            # HEADER_TABLE_SIZE needs nothing: our encoder uses no table.
        if self._table_cleared:
            self._block_limit = self._max_frame
        self._pump()

    def _set_initial_window(self, value: int) -> None:
        if value > codec.MAX_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value}"
            )
        # A new initial window changes all open ones by the difference; they may
        # become negative (RFC 9113 §6.9.2).
        delta = value - self._initial_window
        self._initial_window = value
        for rest in self._unsent.values():
            rest.window += delta
            if rest.window > codec.MAX_WINDOW:
                raise _window_fault(delta)

    def _request_slowly(self, stream: int, exchange: Exchange) -> None:
        """The first request of a connection, and heads longer than a frame."""
        block = exchange.head.block
        if not self._table_cleared:
            block = CLEAR_TABLE + block
            self._table_cleared = True
            self._block_limit = self._max_frame
        body = exchange.body
        self.parts.append(
            codec.encode_headers(
                stream, block, end_stream=not body, max_frame=self._max_frame
            )
        )
        if body:
            self._queue_body(stream, body)

    def _queue_body(self, stream: int, body: bytes) -> None:
        rest = self._unsent[stream] = Unsent(body, self._initial_window)
        self._push(stream, rest)

    def _pump(self) -> None:
        # A copy, since `_push` removes bodies that are sent to the end.
        for stream, rest in list(self._unsent.items()):
            if self._window <= 0:
                break
            self._push(stream, rest)

    def _push(self, stream: int, rest: Unsent) -> None:
        """Queue as much of one body as the windows allow now."""
        left = len(rest.body) - rest.sent
        while True:
            size = min(left, self._window, rest.window, self._max_frame)
            if size <= 0:
                return
            piece = rest.body[rest.sent : rest.sent + size]
            rest.sent += size
            rest.window -= size
            self._window -= size
            left -= size
            flags = 0 if left else codec.END_STREAM
            self.parts += (_pack_head(size << 8, flags, stream), piece)
            if not left:
                del self._unsent[stream]
                return


def _window_fault(increment: int) -> ConnectionFault:
    if not increment:
        return ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window update of zero")
    return ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")


def _setting_fault(name: str, value: int) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"the setting {name}={value}")
