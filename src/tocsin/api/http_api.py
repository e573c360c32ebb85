"""API room: the server API over HTTP, one route for each RPC of the schema.

It checks verb and key, turns JSON into messages and back, and runs the same commands
as the other doors. It does not know what a command does, and opens no port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog
from aiohttp import HttpVersion11, web

from tocsin.admin.actor import NOBODY, Actor
from tocsin.api.auth import REFUSED_CALL, Caller, HttpKeyGuard, KeyRing
from tocsin.api.batch import read_batch, run_batch, write_batch
from tocsin.api.call import (
    Call,
    Command,
    CommandObserver,
    CommandRunner,
    Services,
    correlation_id_from,
)
from tocsin.api.errors import http_headers, http_status, write_error
from tocsin.api.legacy import read_commands, run_commands
from tocsin.api.methods.table import ADMIN_COMMANDS, COMMANDS
from tocsin.api.tracing import TRACEPARENT_KEY, CallTracer
from tocsin.core.errors import ApiError, BadRequest, InternalError
from tocsin.core.traces import read_traceparent
from tocsin.http_edge.inside import ShortJson
from tocsin.protocol.json_codec import SERVER
from tocsin.protocol.json_text import ForeignData, JsonFault
from tocsin.telemetry.spans import Tracer
from tocsin.telemetry.throttle import LineThrottle

MAX_BODY_BYTES = 16 * 1024 * 1024
READ_TIMEOUT_S = 30.0
"""How long the body of a request may take to arrive."""
ERROR_MODE_HEADER = "X-Centrifugo-Error-Mode"
REQUEST_ID_HEADER = "X-Request-Id"
REASON_HEADER = "X-Tocsin-Error"
"""The header that says what is wrong, where the answer's text is fixed by the API."""

SHORT_BYTES = 16 * 1024
"""Longer answers go through aiohttp, which waits for a client that reads slowly."""

_LOGGED_PATH_LENGTH = 128
_LEGACY = "legacy"

_log = structlog.get_logger(__name__)
_refusals = LineThrottle(_log)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[[web.Request, bytes, Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class HttpApiSettings:
    """`http_api` of the configuration."""

    keys: KeyRing = field(default_factory=KeyRing)
    prefix: str = "/api"
    transport_errors: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    read_timeout_s: float = READ_TIMEOUT_S


class _UnreadableError(Exception):
    """A body that did not arrive as a whole; carries the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class HttpApi:
    """Makes the routes of the API."""

    def __init__(
        self,
        services: Services,
        settings: HttpApiSettings,
        *,
        observer: CommandObserver | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        tracing = (
            CallTracer(tracer, protocol="http", prefix=settings.prefix)
            if tracer
            else None
        )
        self._runner = CommandRunner(
            services, observer, protocol="http", tracing=tracing
        )
        self._guard = HttpKeyGuard(settings.keys)
        self._draining = False

    def routes(self) -> list[web.RouteDef]:
        """Every path of the API, and all others below its prefix."""
        prefix = self._settings.prefix.rstrip("/")
        return [
            web.route("*", prefix or "/", self._guarded(_LEGACY, self._answer_legacy)),
            web.route("*", f"{prefix}/batch", self._guarded("batch", self._batch)),
            *self._routes_of(COMMANDS.values(), prefix),
        ]

    def _routes_of(
        self, commands: Iterable[Command], prefix: str
    ) -> list[web.RouteDef]:
        routes = [
            web.route("*", f"{prefix}/{command.name}", self._handler(command))
            for command in commands
        ]
        return [*routes, web.route("*", f"{prefix}/{{path:.*}}", _not_found)]

    def _find_actor(self, _request: web.Request, _caller: Caller) -> Actor:
        return NOBODY

    def begin_drain(self) -> None:
        """Answer 503 to calls of the oldest form from now on, as its clients expect."""
        self._draining = True

    def log_access(self, port: int) -> None:
        """Log whether calls need a key, and what to set where no call can pass."""
        keys = self._settings.keys
        if keys.is_closed:
            _log.warning(
                "HTTP API answers nobody: no key is configured; set http_api.key"
                " (TOCSIN_HTTP_API_KEY), or http_api.insecure to do without",
                port=port,
            )
        elif keys.is_open:
            _log.warning("HTTP API needs no key: http_api.insecure is set", port=port)
        else:
            _log.info("HTTP API listens", port=port, callers=keys.names)

    def _handler(self, command: Command) -> Handler:
        runner, request_class = self._runner, command.request_class

        async def answer(
            request: web.Request, body: bytes, call: Call
        ) -> web.StreamResponse:
            message = SERVER.read(request_class, body)
            result = command.result_class()
            error = await runner.run(command, message, result, call)
            if error is not None:
                return self._error(request, error)
            return answer_json(request, b'{"result":' + SERVER.write(result) + b"}")

        return self._guarded(command.name, answer)

    def _guarded(self, name: str, answer: Answer) -> Handler:
        """A handler that checks verb and key and reads the body before `answer`.

        A body that cannot be read or parsed becomes 400, 408 or 413; a result that
        cannot be written becomes 500.
        """
        identify, settings = self._guard.identify, self._settings

        async def handle(request: web.Request) -> web.StreamResponse:
            if request.method != "POST":
                return web.Response(status=405, headers={"Allow": "POST"})
            caller = identify(request.headers, request.rel_url.raw_query_string)
            if caller is None:
                log_refused(request, "legacy" if name == _LEGACY else "http")
                return web.Response(status=401)
            given = request.headers.get(REQUEST_ID_HEADER, "")
            actor = self._find_actor(request, caller)
            parent = ""
            if self._runner.is_traced:
                parent = read_traceparent(request.headers.get(TRACEPARENT_KEY, ""))
            call = Call(correlation_id_from(given), caller, actor, parent)
            response = await respond(request, call)
            if given == call.correlation_id:  # one that was replaced is not sent back
                response.headers[REQUEST_ID_HEADER] = given
            return response

        async def respond(request: web.Request, call: Call) -> web.StreamResponse:
            try:
                body = await _read(request, settings)
                return await answer(request, body, call)
            except JsonFault as fault:
                error = BadRequest(fault.path or "body", fault.reason)
                self._runner.note(name, call, 0.0, error)
                where = error.message.removeprefix(f"{error.text}: ")
                return _text(400, f"Bad Request: {where}", error.message)
            except _UnreadableError as fault:
                error = BadRequest("body", fault.reason)
                self._runner.note(name, call, 0.0, error)
                refusal = _text(fault.status, _REASONS[fault.status], error.message)
                # The rest of the body is not read: no request can follow it.
                refusal.force_close()
                return refusal
            except ForeignData as cause:
                self._runner.note(name, call, 0.0, InternalError(), cause)
                return _text(500, "Internal Server Error", str(cause))

        return handle

    def _error(self, request: web.Request, error: ApiError) -> web.StreamResponse:
        body = write_error(error)
        by_transport = (
            self._settings.transport_errors
            or request.headers.get(ERROR_MODE_HEADER) == "transport"
        )
        if by_transport:
            answer = answer_json(request, body, http_status(error))
            answer.headers.update(http_headers(error))
            return answer
        return answer_json(request, b'{"error":' + body + b"}")

    async def _answer_legacy(
        self, request: web.Request, body: bytes, call: Call
    ) -> web.StreamResponse:
        if self._draining:
            return web.Response(status=503)
        text = await run_commands(self._runner, read_commands(body), call)
        return answer_json(request, text)

    async def _batch(
        self, request: web.Request, body: bytes, call: Call
    ) -> web.StreamResponse:
        commands, parallel = read_batch(body)
        response = await run_batch(self._runner, commands, call, parallel=parallel)
        return answer_json(request, write_batch(response))


class AdminHttpApi(HttpApi):
    """Makes the routes of `AdminApi`, whose calls tell who makes them."""

    def routes(self) -> list[web.RouteDef]:
        """Every path of the service, and all others below its prefix."""
        return self._routes_of(ADMIN_COMMANDS.values(), self._settings.prefix)

    def _find_actor(self, request: web.Request, caller: Caller) -> Actor:
        return Actor(caller.name, request.remote or "", "http")


_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Request Entity Too Large",
}


async def _read(request: web.Request, settings: HttpApiSettings) -> bytes:
    content = request.content
    try:
        if content.is_eof():  # it came together with the head
            body = content.read_nowait()
            if len(body) > settings.max_body_bytes:
                raise _too_large(settings)
            return body
        if (request.content_length or 0) > settings.max_body_bytes:
            raise _too_large(settings)
        async with asyncio.timeout(settings.read_timeout_s):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(settings) from None
    except TimeoutError:
        reason = f"did not arrive within {settings.read_timeout_s:g} s"
        raise _UnreadableError(408, reason) from None
    except (web.RequestPayloadError, ValueError):
        raise _UnreadableError(400, "cannot be read") from None


def _too_large(settings: HttpApiSettings) -> _UnreadableError:
    reason = f"must be at most {settings.max_body_bytes} bytes"
    return _UnreadableError(413, reason)


def answer_json(
    request: web.Request, body: bytes, status: int = 200
) -> web.StreamResponse:
    """An answer with this JSON; a short one is written by `ShortJson`, in one piece."""
    if (
        status == 200
        and len(body) <= SHORT_BYTES
        and request.version == HttpVersion11
        and request.keep_alive
    ):
        return ShortJson(body)
    headers = {"Content-Type": "application/json"}
    return web.Response(body=body, status=status, headers=headers)


def _text(status: int, text: str, reason: str) -> web.Response:
    return web.Response(
        text=f"{text}\n",
        status=status,
        headers={REASON_HEADER: reason.encode("ascii", "replace").decode()},
    )


async def _not_found(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="404 page not found\n", status=404)


def log_refused(request: web.Request, door: str) -> None:
    """Log a call without the key; its path only, since the query may hold a key."""
    _refusals.warning(
        REFUSED_CALL,
        kind=door,
        path=request.path[:_LOGGED_PATH_LENGTH],
        peer=request.remote,
    )
