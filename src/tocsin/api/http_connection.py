"""API room: how long an HTTP connection may take to ask, and to take its answer.

aiohttp waits without end for both; here they have deadlines, so that nobody can hold
connections and answers by sending or reading nothing. It answers no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from tocsin.telemetry.throttle import LineThrottle

HEADER_TIMEOUT_S = 10.0
"""For the head of a request, from its first byte or from the connection's start."""
WRITE_TIMEOUT_S = 10.0
"""For an answer to be taken. Streams to clients have their own rules."""
KEEPALIVE_S = 75.0
"""How long an idle connection is kept for the next request."""
LINGER_S = 2.0
"""How long the rest of a refused body is read, so that the answer gets through."""

SERVER = "Tocsin"
"""What every answer calls its server: no version, since that helps strangers alone."""

_log = structlog.get_logger(__name__)
_refusals = LineThrottle(_log)


class TimedConnection(web.RequestHandler):
    """Closes itself when a request's head, or the taking of its answer, is late."""

    __slots__ = (
        "_finishing",
        "_head_timeout_s",
        "_head_timer",
        "_heads_seen",
        "_write_timeout_s",
        "_write_timer",
    )

    def __init__(
        self, *args: Any, head_timeout_s: float, write_timeout_s: float, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._write_timeout_s = write_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._heads_seen = 0
        self._write_timer: asyncio.TimerHandle | None = None
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self._request_count != self._heads_seen:
            self._heads_seen = self._request_count
            self._stop_timer()
        elif data and self._head_timer is None and self._current_request is None:
            self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: more waits for the client than it takes."""
        super().pause_writing()
        if self._finishing:
            self._start_write_timer()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._stop_write_timer()
        super().resume_writing()

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Write a finished answer; aiohttp calls it when the handler has returned.

        A stream has been written by its handler before, so only its end comes here.
        The deadline runs while the client takes nothing: a timer for each answer would
        cost as much as reading its request.
        """
        if not resp.prepared:
            resp.headers.setdefault("Server", SERVER)
        self._finishing = True
        if self.writing_paused:
            self._start_write_timer()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._finishing = False
            self._stop_write_timer()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what has gone wrong outside of any handler's answer.

        What is not HTTP is the caller's fault: aiohttp would write it into the log as
        an error of ours, keys and all, and into the answer. Nobody is left to answer
        where the caller went away.
        """
        if isinstance(exc, ConnectionError):
            gone = web.Response(status=400)
            gone.force_close()
            return gone
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        _refusals.info(
            "request refused: it is not HTTP",
            reason=type(exc).__name__,
            peer=request.remote,
        )
        answer = web.Response(status=400, text="Bad Request\n")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Write what aiohttp found wrong in us; a caller may cause it at will."""
        error = kw.get("exc_info")
        what, *values = args
        _refusals.error(
            "an HTTP request failed by a fault that should not happen",
            kind=f"{what} {type(error).__name__}",
            detail=str(what) % tuple(values) if values else str(what),
            exc_info=error,
        )

    def _give_up(self) -> None:
        # Not `force_close`: that waits for the very bytes that nobody takes.
        if self.transport is not None:
            self.transport.abort()

    def _start_write_timer(self) -> None:
        self._stop_write_timer()
        wait_s = self._write_timeout_s
        self._write_timer = self._loop.call_later(wait_s, self._give_up)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _start_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._head_timeout_s, self.force_close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _name_server(_: web.Request, response: web.StreamResponse) -> None:
    """For what a handler begins to write itself, such as a stream."""
    response.headers.setdefault("Server", SERVER)


class TimedRunner(web.AppRunner):
    """An `AppRunner` whose connections are `TimedConnection`s."""

    def __init__(
        self,
        app: web.Application,
        *,
        head_timeout_s: float,
        write_timeout_s: float,
        shutdown_timeout: float,
    ) -> None:
        self._head_timeout_s = head_timeout_s
        self._write_timeout_s = write_timeout_s
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": KEEPALIVE_S,
            "lingering_time": min(LINGER_S, head_timeout_s),
            # No caller of this API compresses, and a small body stays small.
            "auto_decompress": False,
        }
        app.on_response_prepare.append(_name_server)
        super().__init__(
            app,
            handle_signals=False,
            shutdown_timeout=shutdown_timeout,
            **self._options,
        )

    @property
    def server(self) -> Any:
        """What makes the protocol of a new connection; a site asks for it."""
        inner = super().server
        return None if inner is None else self._factory(inner)

    def _factory(self, inner: web.Server) -> Callable[[], TimedConnection]:
        def make() -> TimedConnection:
            return TimedConnection(
                inner,
                loop=asyncio.get_running_loop(),
                head_timeout_s=self._head_timeout_s,
                write_timeout_s=self._write_timeout_s,
                **self._options,
            )

        return make
