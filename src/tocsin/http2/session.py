"""The client's side of one HTTP/2 connection without a socket, for the HTTP/2 room.

Bytes go in by `receive`, bytes come out of `outbound`, answers go to the callbacks of
their exchanges. It reads no clock and opens nothing.
"""

from __future__ import annotations

from tocsin.http2 import codec
from tocsin.http2.codec import ConnectionFault, ErrorCode
from tocsin.http2.exchange import FailureKind, Partial
from tocsin.http2.hpack import (
    CompressionError,
    Decoder,
    HeaderListTooLargeError,
)
from tocsin.http2.streams import OpenStreams, Report

# How many bytes the peer may send before we allow more, which we do whenever half is
# used: so no number of answers uses it up, also those that nobody waits for.
CONNECTION_WINDOW = 1 << 24
STREAM_WINDOW = 1 << 20
# No push provider answers with more.
MAX_RESPONSE_BYTES = 1 << 22
MAX_HEADER_BYTES = 1 << 16
_MAX_FRAME = codec.DEFAULT_MAX_FRAME
_unpack_head = codec.FRAME_HEAD.unpack_from

OPENING = (
    codec.PREFACE
    + codec.encode_settings(
        {
            codec.SETTING_HEADER_TABLE_SIZE: 0,
            codec.SETTING_ENABLE_PUSH: 0,
            codec.SETTING_INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            codec.SETTING_MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
        }
    )
    + codec.encode_window_update(0, CONNECTION_WINDOW - codec.DEFAULT_WINDOW)
)

# An unfinished header block: (stream, flags, bytes so far).
_Pending = tuple[int, int, bytearray]


class ClientSession(OpenStreams):
    """`OpenStreams`, and the reading of what the server sends."""

    __slots__ = ("_decoder", "_pending", "_rest", "_unacknowledged")

    def __init__(
        self,
        *,
        max_streams: int,
        initial_streams: int | None,
        report: Report,
        first_id: int = 1,
    ) -> None:
        """As `OpenStreams`; the opening is queued at once."""
        super().__init__(
            max_streams=max_streams,
            initial_streams=initial_streams,
            report=report,
            first_id=first_id,
        )
        self._rest = b""
        self._pending: _Pending | None = None
        self._unacknowledged = 0
        self._decoder = Decoder(list_limit=MAX_HEADER_BYTES)
        self.outbound.parts.append(OPENING)

    def receive(self, data: bytes) -> None:
        """Take bytes as they come, in any pieces. Never raises for their content."""
        if self.closed:
            return
        if self._rest:
            data = self._rest + data
        try:
            if not self.ready:
                self._check_opening(data)
            used = self._parse(data)
        except ConnectionFault as fault:
            self._break(fault)
            return
        self._rest = data[used:]
        if self._unacknowledged > CONNECTION_WINDOW // 2:
            update = codec.encode_window_update(0, self._unacknowledged)
            self._unacknowledged = 0
            self.outbound.parts.append(update)

    def _parse(self, data: bytes) -> int:
        """Handle all complete frames; returns how many bytes they were.

        The two frames of an ordinary answer are handled in place, since this runs
        for every push; everything else goes to a method of its own.
        """
        streams = self.streams
        memo = self._decoder.memo
        total = len(data)
        at = 0
        while total - at >= 9:
            size_and_kind, flags, stream = _unpack_head(data, at)
            start = at + 9
            end = start + (size_and_kind >> 8)
            if end - start > _MAX_FRAME:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of {end - start} bytes"
                )
            if end > total:
                break
            at = end
            kind = size_and_kind & 0xFF
            pending = self._pending
            if pending is not None:
                self._continue(pending, kind, flags, stream, data[start:end])
            elif kind == codec.HEADERS:
                payload = data[start:end]
                # END_HEADERS without PADDED or PRIORITY: the payload is the block.
                fields = memo.get(payload) if flags & 0x2C == 4 else None
                exchange = streams.get(stream)
                if (
                    fields is None
                    or exchange is None
                    or exchange.fields is not None
                    or fields.status < 200
                    or fields.fault
                ):
                    self._on_headers(flags, stream, payload)
                elif flags & 1:
                    self.finish(stream, exchange, fields, b"")
                else:
                    exchange.fields = fields
            elif kind == codec.DATA:
                # Also for streams that were given up: they use the window as well.
                self._unacknowledged += end - start
                exchange = streams.get(stream)
                # END_STREAM and nothing else: the whole body in one frame.
                if (
                    flags == 1
                    and exchange is not None
                    and exchange.fields is not None
                    and exchange.partial is None
                ):
                    self.finish(stream, exchange, exchange.fields, data[start:end])
                else:
                    self._on_data(flags, stream, data[start:end])
            else:
                self._on_control(kind, flags, stream, data[start:end])
        return at

    def _check_opening(self, data: bytes) -> None:
        """Check that the server begins with SETTINGS, as RFC 9113 §3.4 demands."""
        if data.startswith(b"HTTP/"):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "the server answers in HTTP/1, not HTTP/2"
            )
        if len(data) > 4 and (data[3] != codec.SETTINGS or data[4] & codec.ACK):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "the server does not open with SETTINGS"
            )

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_not_idle(stream, "HEADERS")
        fragment = codec.strip_headers(flags, payload)
        if flags & codec.END_HEADERS:
            self._on_block(flags, stream, fragment)
        else:
            self._pending = (stream, flags, bytearray(fragment))

    def _continue(
        self, pending: _Pending, kind: int, flags: int, stream: int, payload: bytes
    ) -> None:
        first, first_flags, block = pending
        if kind != codec.CONTINUATION or stream != first:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "a header block interrupted by another frame"
            )
        # The limit on bytes would let empty frames go on for ever.
        if not payload and not flags & codec.END_HEADERS:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "an empty CONTINUATION in mid-block"
            )
        block += payload
        if len(block) > MAX_HEADER_BYTES:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "a header block without an end"
            )
        if flags & codec.END_HEADERS:
            self._pending = None
            self._on_block(first_flags, stream, bytes(block))

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        """A complete header block: an interim or final head, or trailers."""
        try:
            fields = self._decoder.decode(block)
        except HeaderListTooLargeError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except CompressionError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        exchange = self.streams.get(stream)
        if exchange is None:
            return  # given up before; decoded all the same, to keep the HPACK table
        ends = flags & codec.END_STREAM
        if fields.fault:
            if exchange.fields is None and fields.status >= 200:
                exchange.fields = fields  # malformed, but its status is known
            self.refuse_answer(stream, exchange, fields.fault)
        elif exchange.fields is not None:
            if fields.status or not ends:
                self.refuse_answer(stream, exchange, "trailers that do not end it")
            else:
                partial = exchange.partial
                body = bytes(partial.data) if partial else b""
                self.finish(stream, exchange, exchange.fields, body)
        elif fields.status < 200:
            if ends or fields.status in (0, 101):
                self.refuse_answer(stream, exchange, "no final :status")
        elif ends:
            self.finish(stream, exchange, fields, b"")
        else:
            exchange.fields = fields

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        """A DATA frame that is not a whole body, or has padding, or breaks a rule."""
        self._check_not_idle(stream, "DATA")
        data = codec.strip_padding(flags, payload)
        exchange = self.streams.get(stream)
        if exchange is None:
            return  # of a request that was given up
        if exchange.fields is None:
            self.refuse_answer(stream, exchange, "a body before its head")
            return
        partial = exchange.partial
        if partial is None:
            partial = exchange.partial = Partial()
        partial.data += data
        partial.unacknowledged += len(payload)
        if len(partial.data) > MAX_RESPONSE_BYTES:
            self.refuse_answer(
                stream, exchange, f"a body of more than {MAX_RESPONSE_BYTES} bytes"
            )
        elif flags & codec.END_STREAM:
            self.finish(stream, exchange, exchange.fields, bytes(partial.data))
        elif partial.unacknowledged > STREAM_WINDOW // 2:
            update = codec.encode_window_update(stream, partial.unacknowledged)
            partial.unacknowledged = 0
            self.outbound.parts.append(update)

    def _on_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == codec.WINDOW_UPDATE:
            self._on_window_update(stream, codec.parse_window_update(payload))
        elif kind == codec.RST_STREAM:
            self._on_reset(stream, codec.parse_reset(payload))
        elif kind in (codec.SETTINGS, codec.PING, codec.GOAWAY):
            if stream:
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, "a frame of the connection on a stream"
                )
            if kind == codec.SETTINGS:
                self._on_settings(flags, payload)
            elif kind == codec.GOAWAY:
                self._on_goaway(*codec.parse_goaway(payload))
            elif not flags & codec.ACK:
                answer = codec.encode_ping(codec.parse_ping(payload), ack=True)
                self.outbound.reply(answer)
            else:
                codec.parse_ping(payload)  # only checked: any byte answers our PING
        elif kind in (codec.PUSH_PROMISE, codec.CONTINUATION):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "a frame that must not come here"
            )
        # PRIORITY and kinds that we do not know are passed over (RFC 9113 §5.5).

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & codec.ACK:
            if payload:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings"
                )
            return
        self.outbound.apply(codec.parse_settings(payload))
        self.outbound.reply(codec.SETTINGS_ACK)
        self.ready = True
        self.set_limit()

    def _on_goaway(self, last: int, code: int, debug: bytes) -> None:
        """Streams up to `last` may still be answered; later ones were not seen."""
        self.goaway_code = code
        self.goaway_debug = debug
        self.drain()
        for stream in [s for s in self.streams if s > last]:
            exchange = self.streams[stream]
            if exchange.fields is not None:
                continue  # its answer has begun, so it was processed: not sent again
            del self.streams[stream]
            self.returned.append(exchange)
            self.outbound.forget(stream)

    def _on_reset(self, stream: int, code: int) -> None:
        self._check_not_idle(stream, "RST_STREAM")
        exchange = self.streams.pop(stream, None)
        if exchange is None:
            return  # nginx resets with NO_ERROR after answers that it gave early
        self.outbound.forget(stream)
        if code == ErrorCode.REFUSED_STREAM and exchange.fields is None:
            self.returned.append(exchange)
            return
        detail = f"the server reset the request: {codec.error_name(code)}"
        self.fail(exchange, FailureKind.RESET, detail, code)

    def _on_window_update(self, stream: int, increment: int) -> None:
        if stream:
            self._check_not_idle(stream, "WINDOW_UPDATE")
        code = self.outbound.widen(stream, increment)
        # Only the stream ends (RFC 9113 §6.9); one that is gone needs no reset.
        if code:
            exchange = self.streams.get(stream)
            if exchange is not None:
                self.refuse_answer(stream, exchange, "a wrong window update", code)

    def _break(self, fault: ConnectionFault) -> None:
        self.outbound.parts.append(
            codec.encode_goaway(0, fault.code, fault.detail.encode())
        )
        self.end(FailureKind.PROTOCOL, f"{fault.code.name}: {fault.detail}")

    def _check_not_idle(self, stream: int, name: str) -> None:
        if not stream & 1 or stream >= self._next_id:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"{name} on stream {stream}, never opened"
            )
