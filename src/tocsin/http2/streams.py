"""Open requests of one HTTP/2 connection and how they end, for the HTTP/2 room.

Without a socket and a clock, like all modules below the connection. `session.py` reads
what the server sends.
"""

from __future__ import annotations

from collections.abc import Callable

from tocsin.http2 import codec
from tocsin.http2.codec import ErrorCode
from tocsin.http2.exchange import Exchange, Failure, FailureKind, Response
from tocsin.http2.hpack import FieldBlock
from tocsin.http2.outbound import Outbound

Report = Callable[[Exception], None]


class OpenStreams:
    """The requests under way on a connection.

    `limit` is how many streams may be open now, `streams` are those that are open.
    Exchanges that the server surely did not process gather in `returned`; the
    connection takes them from there. After `closed` nothing more is accepted.
    """

    __slots__ = (
        "_first_streams",
        "_held",
        "_max_streams",
        "_next_id",
        "_report",
        "_written_id",
        "answered",
        "closed",
        "draining",
        "fault",
        "goaway_code",
        "goaway_debug",
        "limit",
        "outbound",
        "proven",
        "ready",
        "returned",
        "streams",
        "timeouts_in_row",
    )

    def __init__(
        self,
        *,
        max_streams: int,
        initial_streams: int | None,
        report: Report,
        first_id: int = 1,
    ) -> None:
        """`report` is called with exceptions of callbacks.

        `initial_streams` bounds the streams until an answer shows that the server
        knows us.
        """
        self.streams: dict[int, Exchange] = {}
        self.returned: list[Exchange] = []
        self.outbound = Outbound()
        self.limit = 0
        self.ready = False
        self.draining = False
        self.closed = False
        self.proven = initial_streams is None
        self.answered = False
        self.timeouts_in_row = 0
        self.fault = ""
        self.goaway_code: int | None = None
        self.goaway_debug = b""
        self._max_streams = max_streams
        self._first_streams = (
            max_streams if initial_streams is None else initial_streams
        )
        self._held = False
        self._report = report
        self._next_id = first_id
        self._written_id = 0

    def open(self, exchange: Exchange) -> None:
        """Send a request on a new stream; needs `limit` > number of streams."""
        stream = self._next_id
        self._next_id = stream + 2
        self.streams[stream] = exchange
        self.outbound.request(stream, exchange)
        # Ids are never used again, so a connection ends with its last one.
        if stream + 2 > codec.MAX_STREAM_ID:
            self.drain()

    def take_output(self) -> bytes:
        """What to write now. Streams opened so far count as sent from here on."""
        self._written_id = self._next_id - 2
        return self.outbound.take()

    @property
    def last_id(self) -> int:
        """The id of the newest stream; it changes when the connection is used."""
        return self._next_id - 2

    def drain(self) -> None:
        """Open no further streams; those that are open may end."""
        self.draining = True
        self.set_limit()

    def hold(self, held: bool) -> None:
        """While held, no stream may be opened (the connection is in doubt)."""
        self._held = held
        self.set_limit()

    def ping(self, payload: bytes) -> None:
        """Queue a PING, to see whether the server is there."""
        self.outbound.parts.append(codec.encode_ping(payload))

    def say_goodbye(self) -> None:
        """Queue a GOAWAY without an error."""
        self.outbound.parts.append(codec.encode_goaway(0, ErrorCode.NO_ERROR))

    def expire(self, now: float) -> int:
        """Give up what is past its deadline; returns how many."""
        late = [s for s, exchange in self.streams.items() if exchange.deadline <= now]
        for stream in late:
            exchange = self.streams.pop(stream)
            self._cancel(stream, ErrorCode.CANCEL)
            self.timeouts_in_row += 1
            self.fail(exchange, FailureKind.TIMEOUT, "no answer within the deadline")
        return len(late)

    def end(self, kind: FailureKind, detail: str) -> None:
        """The connection is gone or of no use: end every exchange.

        Those that were never handed to the socket go to `returned`, the others fail.
        """
        if self.closed:
            return
        self.closed = True
        self.fault = detail
        self.drain()
        exchanges = list(self.streams.items())
        self.streams.clear()
        for stream, exchange in exchanges:
            self.outbound.forget(stream)
            if stream > self._written_id:
                self.returned.append(exchange)
            else:
                self.fail(exchange, kind, detail)

    def finish(
        self, stream: int, exchange: Exchange, fields: FieldBlock, body: bytes
    ) -> None:
        """The answer is complete, whether or not the request was fully sent."""
        length = fields.content_length
        if (
            length is not None
            and length != len(body)
            and not _bodiless(exchange, fields)
        ):
            exchange.keep(body)
            self.refuse_answer(stream, exchange, "a body of another content-length")
            return
        del self.streams[stream]
        # A server may answer before it has read the whole request (RFC 9113 §8.1).
        if self.outbound.forget(stream):
            self.outbound.parts.append(codec.encode_reset(stream, ErrorCode.CANCEL))
        self.timeouts_in_row = 0
        self.answered = True
        if not self.proven and _admits(fields.status):
            self.proven = True
            self.set_limit()
        try:
            exchange.on_done(Response(fields, body))
        except Exception as error:  # noqa: BLE001 - one caller's bug must not end all
            self._report(error)

    def refuse_answer(
        self,
        stream: int,
        exchange: Exchange,
        detail: str,
        code: int = ErrorCode.PROTOCOL_ERROR,
    ) -> None:
        """The answer breaks the rules: end this stream; the connection goes on."""
        del self.streams[stream]
        self._cancel(stream, code)
        self.fail(exchange, FailureKind.PROTOCOL, f"the answer is malformed: {detail}")

    def _cancel(self, stream: int, code: int) -> None:
        self.outbound.forget(stream)
        self.outbound.parts.append(codec.encode_reset(stream, code))

    def fail(
        self,
        exchange: Exchange,
        kind: FailureKind,
        detail: str,
        code: int | None = None,
    ) -> None:
        """Report a request without an answer, which the server may have received."""
        if code is None:
            code = self.goaway_code
        begun = exchange.begun
        failure = Failure(kind, True, detail, code, self.goaway_debug, begun)
        self.tell(exchange, failure)

    def tell(self, exchange: Exchange, failure: Failure) -> None:
        """Call the callback of a failure; its exceptions are reported, not raised."""
        try:
            exchange.on_done(failure)
        except Exception as error:  # noqa: BLE001 - one caller's bug must not end all
            self._report(error)

    def set_limit(self) -> None:
        """Work out `limit` from all that bounds it."""
        if self.draining or self._held or not self.ready:
            self.limit = 0
            return
        own = self._max_streams if self.proven else self._first_streams
        self.limit = min(own, self.outbound.peer_streams)


def _admits(status: int) -> bool:
    """Whether an answer shows that the credential is good, even if the request is not.

    If a fault of the request did not count, a batch of faulty requests only would be
    sent one by one.
    """
    return status < 500 and status not in (401, 403, 429)


def _bodiless(exchange: Exchange, fields: FieldBlock) -> bool:
    """Whether a content-length may stand without its content (RFC 9110 §8.6)."""
    return exchange.head.method == "HEAD" or fields.status == 304
