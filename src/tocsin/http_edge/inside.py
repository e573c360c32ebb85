"""HTTP edge room: all that uses private names of aiohttp, under names of our own.

It decides nothing; no other room uses a private name. aiohttp may change these with any
minor version: so the version is pinned, and `tests/unit/http_edge/test_inside.py` names
what has changed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import HttpProcessingError

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")


# --- a connection of the server ----------------------------------------------


class Connection(web.RequestHandler):
    """The server's side of one HTTP/1.1 connection.

    First come its state and what it can be asked for, then the hooks (`on_…` and
    others) that a subclass overrides.
    """

    __slots__ = ()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs on."""
        return self._loop

    @property
    def is_held(self) -> bool:
        """Whether reading must wait until a handler has taken what has come."""
        return self._reading_paused or self._buffer_paused

    @property
    def reads_requests(self) -> bool:
        """Whether what comes is parsed as requests; `False` after an upgrade."""
        return not self._upgraded and self._payload_parser is None

    @property
    def heads_read(self) -> int:
        """Requests that have begun on it so far."""
        return self._request_count

    @property
    def is_answering(self) -> bool:
        """Whether a handler is working on a request of it."""
        return self._current_request is not None

    @property
    def has_next(self) -> bool:
        """Whether a further request waits behind the one being answered."""
        return bool(self._messages)

    def leave_socket(self) -> None:
        """Read nothing more from the socket for now."""
        self._pause_transport_reading()

    def read_socket(self) -> None:
        """Read from the socket again."""
        super()._resume_transport_reading()

    def on_room(self) -> None:
        """Called when reading need not wait any more."""
        self.read_socket()

    def on_new_owner(self) -> None:
        """Called when a handler has taken the socket over (see `hand_over`)."""

    def on_answer(self, response: web.StreamResponse) -> None:
        """Called before an answer is written; a stream is written already."""

    def on_answered(self) -> None:
        """Called after an answer, whether all of it was written or the caller left."""

    async def before_next(self) -> None:
        """Called after an answer when the next request has come already."""

    def answer_fault(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - for subclasses
        error: BaseException | None,  # noqa: ARG002 - for subclasses
    ) -> web.StreamResponse | None:
        """The answer to an error outside of any handler; `None` for aiohttp's own."""
        return None

    def log_fault(self, kind: str, text: str, error: object) -> None:
        """Log what aiohttp reports as an error.

        `kind` is its message before arguments are filled in, `text` after.
        """

    # What aiohttp calls.

    def _resume_transport_reading(self) -> None:
        self.on_room()

    def set_parser(self, *args: Any, **kwargs: Any) -> None:
        """See aiohttp."""
        super().set_parser(*args, **kwargs)
        self.on_new_owner()

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """See aiohttp."""
        self.on_answer(resp)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.on_answered()
            if self.has_next:
                await self.before_next()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See aiohttp."""
        answer = self.answer_fault(request, exc)
        if answer is None:
            return super().handle_error(request, status, exc, message)
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """See aiohttp: arguments are those of `logging`."""
        kind, *values = map(str, args)
        self.log_fault(
            kind, kind % tuple(values) if values else kind, kw.get("exc_info")
        )


def is_no_http(error: BaseException | None) -> bool:
    """Whether what came is not HTTP: the caller's fault, not this server's."""
    return isinstance(error, HttpProcessingError)


class Runner(web.AppRunner):
    """An `AppRunner` of connections that `make` makes from aiohttp's arguments."""

    def __init__(
        self,
        app: web.Application,
        make: Callable[..., Connection],
        *,
        keepalive_s: float,
        linger_s: float,
        shutdown_timeout_s: float,
    ) -> None:
        self._make = make
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": keepalive_s,
            "lingering_time": linger_s,
            # No caller compresses, and a small body stays small.
            "auto_decompress": False,
        }
        super().__init__(
            app,
            handle_signals=False,
            shutdown_timeout=shutdown_timeout_s,
            **self._options,
        )

    @property
    def server(self) -> Any:
        """The factory of a new connection's protocol, which aiohttp's site calls."""
        inner = super().server
        if inner is None:
            return None
        return lambda: self._make(
            inner, loop=asyncio.get_running_loop(), **self._options
        )


# --- answers that aiohttp does not write -------------------------------------


class ShortJson(web.StreamResponse):
    """200 with a short body of JSON, on an HTTP/1.1 connection that stays open.

    It is one write, without the general steps of aiohttp for a response: those cost as
    much time as a publish.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._short_body = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it; raises `ConnectionResetError` if the caller has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        # aiohttp reads this after the answer, to decide whether to keep the connection.
        self._keep_alive = True
        body = self._short_body
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        # The `Server` is among the headers: `Connection.on_answer` came before.
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
        )
        transport.write(head.encode() + body)
        if request.protocol.writing_paused:
            # A caller that sends requests and reads no answers must wait: else its
            # answers would fill the memory.
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


class Switched(web.StreamResponse):
    """The response of a handler that has handed its connection over; writes nothing."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - aiohttp's
        """Write nothing: the new owner of the socket has written the head."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


class _EarlyBytes:
    """Takes the place of aiohttp's parser, to get what came behind the request."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The new protocol hears of the end itself."""


def hand_over(request: web.Request, protocol: asyncio.Protocol) -> bytes:
    """Make `protocol` the owner of the request's socket.

    Returns what the client has sent behind the request. The new owner must call the old
    protocol's `connection_lost`, so that aiohttp forgets the connection. Raises
    `ConnectionResetError` when the socket is closed already.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = _EarlyBytes()
    request.protocol.keep_alive(False)
    # Before the socket changes hands: what aiohttp has read goes to the new owner.
    request.protocol.set_parser(cast("Any", early))
    transport.set_protocol(protocol)
    return early.data


# --- a connection of a client ------------------------------------------------


class _Listener(ResponseHandler):
    """Notes the status of an answer before it is known to be well-formed.

    aiohttp gives no status for an answer that arrives in one piece and is broken after
    its first line, in the head or in the body's chunks.
    """

    said = 0

    def set_response_params(self, **options: Any) -> None:
        """See aiohttp: another request begins."""
        self.said = 0
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Look at the first line only."""
        if not self.said and (line := _STATUS_LINE.match(data)):
            self.said = int(line[1])
        super().data_received(data)

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """See aiohttp: the error that ends a request gets the status as `said`."""
        if isinstance(exc, Exception):
            exc.said = self.said  # type: ignore[attr-defined] # for `status_said`
        super().set_exception(exc, *cause)


class ListeningConnector(aiohttp.TCPConnector):
    """A client's connections that note the status; see `status_said`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        make: type[ResponseHandler] = _Listener
        self._factory = partial(make, loop=self._loop)


def status_said(error: BaseException) -> int:
    """The status of the broken answer that caused this error, or 0."""
    return next(
        (
            status
            for one in (error, error.__cause__)
            if (status := getattr(one, "said", 0))
        ),
        0,
    )
