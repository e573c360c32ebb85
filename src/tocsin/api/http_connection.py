"""API room: deadlines of an HTTP connection for its requests and its answers.

aiohttp waits without end for both, so that a caller could hold connections and answers
by sending or reading nothing. Long data is read in shares, so that no caller can keep
the loop busy either. It answers no request.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from tocsin.http_edge.inside import Connection, Runner, is_no_http
from tocsin.hub.share import TurnShare
from tocsin.telemetry.throttle import LineThrottle

HEADER_TIMEOUT_S = 10.0
"""How long a request's head may take, from its first byte or the connection's start."""
WRITE_TIMEOUT_S = 10.0
"""How long a caller may take nothing of an answer. Streams have their own rules."""
KEEPALIVE_S = 75.0
"""How long an idle connection is kept for the next request."""
LINGER_S = 2.0
"""How long the rest of a refused body is read, so that the answer gets through."""
PIECE_BYTES = 4_096
FIRST_PIECE_BYTES = 1_024
READ_S = 0.0005
"""After this time the rest of a connection's bytes waits for a later turn: a body of
tiny chunks costs hundreds of times what a plain one does. The same holds for answering
pipelined requests, which come without waiting for an answer."""

SERVER = "Tocsin"
"""The `Server` header of every answer; without a version, which would help attackers
alone."""

_log = structlog.get_logger(__name__)
_refusals = LineThrottle(_log)


class TimedConnection(Connection):
    """Closes itself when a request's head comes too slowly, or its answer is not taken.

    Bytes that do not fit into its share of a turn are kept for a later turn; until then
    it does not read its socket.
    """

    __slots__ = (
        "_busy_since_s",
        "_finishing",
        "_head_timeout_s",
        "_head_timer",
        "_heads_seen",
        "_share",
        "_unread",
        "_waits",
        "_write_timeout_s",
        "_write_timer",
    )

    def __init__(
        self,
        *args: Any,
        head_timeout_s: float,
        write_timeout_s: float,
        share: TurnShare,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._share = share
        self._unread = b""
        self._waits = False
        self._busy_since_s: float | None = None
        self._head_timeout_s = head_timeout_s
        self._write_timeout_s = write_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._heads_seen = 0
        self._write_timer: asyncio.TimerHandle | None = None
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._start_timer()  # a connection that sends nothing is closed too

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; without data it parses what it has kept."""
        if self._unread and data:  # behind the bytes that came before
            self._unread += data
            self.leave_socket()
        elif len(data) <= FIRST_PIECE_BYTES:
            self._read(data)
        elif self._share.is_taken:
            self._keep(data)
        else:
            self._read_pieces(data)

    def _read_pieces(self, data: bytes) -> None:
        """Parse in growing pieces until time or room is used up; keep the rest."""
        began_s = time.perf_counter()
        at, size = 0, FIRST_PIECE_BYTES
        while at < len(data) and self.transport is not None:
            if not self.reads_requests:
                size = len(data)  # it is not parsed here: the time does not grow
            self._read(data[at : at + size])
            at += size
            if self.is_held or time.perf_counter() - began_s > READ_S:
                break
            size = min(2 * size, PIECE_BYTES)
        if at < len(data) and self.transport is not None:
            self._keep(data[at:])

    def _keep(self, data: bytes) -> None:
        self._unread = data
        self.leave_socket()
        self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if not self._waits:
            self._waits = True
            self._share.wait(self)

    def go_on(self) -> None:
        """See `Waiting`: parse the next share of what has come."""
        self._waits = False
        if self.is_held or self.transport is None or not self._unread:
            return
        data, self._unread = self._unread, b""
        self._read_pieces(data)
        if not (self._unread or self.is_held):
            self.on_room()

    def on_room(self) -> None:
        """See `Connection`: what is kept goes before what is in the socket."""
        if self._unread:
            self._wait_for_turn()
        else:
            self.read_socket()

    def on_new_owner(self) -> None:
        """See `Connection`: the bytes that are kept belong to the new owner too."""
        data, self._unread = self._unread, b""
        if data:
            super().data_received(data)
            if not self.is_held:
                self.on_room()

    def _read(self, data: bytes) -> None:
        super().data_received(data)
        # A complete head ends its deadline. Bytes without one, while no request is
        # answered, begin a head, and its deadline.
        if self.heads_read != self._heads_seen:
            self._heads_seen = self.heads_read
            self._stop_timer()
        elif data and self._head_timer is None and not self.is_answering:
            self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: the caller does not take all bytes now."""
        super().pause_writing()
        if self._finishing:
            self._start_write_timer()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._stop_write_timer()
        super().resume_writing()

    def on_answer(self, response: web.StreamResponse) -> None:
        """See `Connection`.

        The deadline runs only while the caller takes nothing: a timer for each answer
        would cost as much as reading its request.
        """
        if not response.prepared:
            response.headers.setdefault("Server", SERVER)
        self._finishing = True
        if self.writing_paused:
            self._start_write_timer()

    def on_answered(self) -> None:
        """See `Connection`."""
        self._finishing = False
        self._stop_write_timer()

    async def before_next(self) -> None:
        """Wait for a later turn when pipelined requests have used `READ_S`."""
        # Processor time: a request may also have waited for a store.
        now_s = time.thread_time()
        if not self._busy_since_s:
            self._busy_since_s = now_s
        elif now_s - self._busy_since_s > READ_S:
            self._busy_since_s = None
            await self._share.pause()

    def answer_fault(
        self, request: web.BaseRequest, error: BaseException | None
    ) -> web.StreamResponse | None:
        """See `Connection`.

        Bytes that are not HTTP are the caller's fault. aiohttp would log them as an
        error of the server, with any key in them, and repeat them in the answer. After
        a `ConnectionError` nobody reads the answer.
        """
        if isinstance(error, ConnectionError):
            answer = web.Response(status=400)
        elif is_no_http(error):
            _refusals.info(
                "request refused: it is not HTTP",
                reason=type(error).__name__,
                peer=request.remote,
            )
            answer = web.Response(status=400, text="Bad Request\n")
        else:
            return None
        answer.force_close()
        return answer

    def log_fault(self, kind: str, text: str, error: object) -> None:
        """See `Connection`; throttled, since a caller may cause it at will."""
        _refusals.error(
            "an HTTP request failed by a fault that should not happen",
            kind=f"{kind} {type(error).__name__}",
            detail=text,
            exc_info=error,
        )

    def _give_up(self) -> None:
        # Not `force_close`: that waits for the very bytes that nobody takes.
        if self.transport is not None:
            self.transport.abort()

    def _start_write_timer(self) -> None:
        self._stop_write_timer()
        wait_s = self._write_timeout_s
        self._write_timer = self.loop.call_later(wait_s, self._give_up)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._head_timeout_s, self.force_close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _name_server(_: web.Request, response: web.StreamResponse) -> None:
    """Set `Server` on answers that a handler begins itself, such as streams."""
    response.headers.setdefault("Server", SERVER)


def build_runner(
    app: web.Application,
    *,
    head_timeout_s: float,
    write_timeout_s: float,
    shutdown_timeout_s: float,
    share: TurnShare,
) -> Runner:
    """What serves the application over `TimedConnection`s."""
    app.on_response_prepare.append(_name_server)
    return Runner(
        app,
        partial(
            TimedConnection,
            head_timeout_s=head_timeout_s,
            write_timeout_s=write_timeout_s,
            share=share,
        ),
        keepalive_s=KEEPALIVE_S,
        linger_s=min(LINGER_S, head_timeout_s),
        shutdown_timeout_s=shutdown_timeout_s,
    )
