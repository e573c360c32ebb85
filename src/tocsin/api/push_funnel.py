"""API room: the funnel of a send over HTTP, a route that the published API has not.

It only reads. The schema has no such RPC, so gRPC and batches do not offer it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import orjson
import structlog
from aiohttp import web

from tocsin.api.auth import HttpKeyGuard
from tocsin.api.call import CommandObserver
from tocsin.api.errors import http_status
from tocsin.api.http_api import log_refused
from tocsin.core.errors import ApiError, InternalError
from tocsin.push.status import StatusService

NAME = "push_funnel"
ERROR_MODE_HEADER = "X-Centrifugo-Error-Mode"

_log = structlog.get_logger(__name__)


class PushFunnel:
    """`GET {prefix}/push_funnel?uid=…`, with the key of the HTTP API."""

    def __init__(
        self,
        statuses: StatusService,
        guard: HttpKeyGuard,
        *,
        prefix: str = "/api",
        transport_errors: bool = False,
        observer: CommandObserver | None = None,
    ) -> None:
        self._statuses = statuses
        self._guard = guard
        self._path = f"{prefix.rstrip('/')}/{NAME}"
        self._transport_errors = transport_errors
        self._observer = observer

    def routes(self) -> Sequence[web.RouteDef]:
        """The one path; other verbs than GET are refused."""
        return [web.route("*", self._path, self._handle)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return web.Response(status=405, headers={"Allow": "GET"})
        if not self._guard.allows(request.headers, request.rel_url.raw_query_string):
            log_refused(request, "push_funnel")
            return web.Response(status=401)
        started = time.perf_counter()
        error: ApiError | None = None
        answer: web.Response | None = None
        try:
            answer = await self._answer(request.query.get("uid", ""))
        except ApiError as raised:
            error = raised
        except Exception:  # noqa: BLE001 - the border of a call
            _log.exception("call failed", method=NAME, protocol="http")
            error = InternalError()
        if self._observer is not None:
            code = 0 if error is None else error.code
            seconds = time.perf_counter() - started
            self._observer.observe_command(NAME, "http", seconds, code)
        return self._refusal(request, error) if answer is None else answer

    async def _answer(self, uid: str) -> web.Response:
        funnel = await self._statuses.fetch_funnel(uid)
        result: dict[str, object] = {
            "uid": funnel.uid,
            "sent": funnel.sent,
            "delivered": funnel.delivered,
            "interacted": funnel.interacted,
            "failed": dict(sorted(funnel.failed.items())),
        }
        state = self._statuses.find_state(funnel)
        if state is not None:
            result |= {"state": state.state, "note": state.note}
            if state.due_ms:
                result["due_at"] = state.due_ms // 1000
        return _json(orjson.dumps({"result": result}))

    def _refusal(self, request: web.Request, error: ApiError | None) -> web.Response:
        error = error or InternalError()
        body = {"code": error.code, "message": error.message}
        given = request.headers.get(ERROR_MODE_HEADER)
        if self._transport_errors or given == "transport":
            return _json(orjson.dumps(body), status=http_status(error))
        return _json(orjson.dumps({"error": body}))


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(
        body=body, status=status, headers={"Content-Type": "application/json"}
    )
