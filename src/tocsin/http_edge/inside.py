"""HTTP edge room: all that leans on the inside of aiohttp, under names of our own.

It decides nothing: whoever stands on it knows no private name. aiohttp may change
these with any minor version, so that is pinned, and
`tests/unit/http_edge/test_inside.py` says by name what has changed.
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

    Below are what it tells of itself, what it can be asked for, and the moments at
    which a subclass is called.
    """

    __slots__ = ()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs on."""
        return self._loop

    @property
    def is_held(self) -> bool:
        """Whether there is no room for more until a handler has read on."""
        return self._reading_paused or self._buffer_paused

    @property
    def reads_requests(self) -> bool:
        """Whether what comes is parsed, not kept for a new owner of the socket."""
        return not self._upgraded and self._payload_parser is None

    @property
    def heads_read(self) -> int:
        """Requests that have begun on it so far."""
        return self._request_count

    @property
    def is_answering(self) -> bool:
        """Whether a handler has a request of it."""
        return self._current_request is not None

    @property
    def has_next(self) -> bool:
        """Whether a request waits that came behind the one being answered."""
        return bool(self._messages)

    def leave_socket(self) -> None:
        """Read nothing more from the socket for now."""
        self._pause_transport_reading()

    def read_socket(self) -> None:
        """Read from the socket again."""
        super()._resume_transport_reading()

    def on_room(self) -> None:
        """There is room for more."""
        self.read_socket()

    def on_new_owner(self) -> None:
        """From now on what comes is for another."""

    def on_answer(self, response: web.StreamResponse) -> None:
        """The handler has returned; a stream has been written by it before."""

    def on_answered(self) -> None:
        """All of the answer is written, or nobody is left to take it."""

    async def before_next(self) -> None:
        """An answer is written, and the next request has come already."""

    def answer_fault(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - for subclasses
        error: BaseException | None,  # noqa: ARG002 - for subclasses
    ) -> web.StreamResponse | None:
        """What is answered when something went wrong outside of any handler.

        `None` is aiohttp's own answer.
        """
        return None

    def log_fault(self, kind: str, text: str, error: object) -> None:
        """Write what aiohttp takes for a mistake; `text` is of that kind."""

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
            if self._messages:
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
    """Whether what came is no request: the caller's fault, and not ours."""
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
        """What makes the protocol of a new connection; a site asks for it."""
        inner = super().server
        if inner is None:
            return None
        return lambda: self._make(
            inner, loop=asyncio.get_running_loop(), **self._options
        )


# --- answers that aiohttp does not write -------------------------------------


class ShortJson(web.StreamResponse):
    """200 with a short body of JSON, on an HTTP/1.1 connection that stays open.

    It is written as one piece, without the steps that aiohttp takes for responses of
    any kind: they cost as much as a publish.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._short_body = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it; raises `ConnectionResetError` where nobody is left."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        # What aiohttp reads when the answer is finished: go on with this connection.
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
            # Who asks on without reading waits, rather than filling our memory.
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


class Switched(web.StreamResponse):
    """What a handler returns whose connection was handed over: nothing to write."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - aiohttp's
        """Write nothing: the head is long gone."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


class _EarlyBytes:
    """Stands in as aiohttp's reader to get what came right behind the request."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The new protocol hears of the end itself."""


def hand_over(request: web.Request, protocol: asyncio.Protocol) -> bytes:
    """Make `protocol` the owner of the request's socket.

    Returns what the client sent ahead. The new owner calls the old protocol's
    `connection_lost`, so that aiohttp lets go. Raises `ConnectionResetError` when
    the socket is closed already.
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

    aiohttp tells nothing of an answer that arrives in one piece and is broken further
    down, in its head or in how its body is cut into chunks.
    """

    said = 0

    def set_response_params(self, **options: Any) -> None:
        """Another request begins."""
        self.said = 0
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Look at the first line only."""
        if not self.said and (line := _STATUS_LINE.match(data)):
            self.said = int(line[1])
        super().data_received(data)

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """What ends a request carries the status that was said."""
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
    """The status of an answer that never became one, or 0."""
    return next(
        (
            status
            for one in (error, error.__cause__)
            if (status := getattr(one, "said", 0))
        ),
        0,
    )
