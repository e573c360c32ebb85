"""API room: the funnel of a send over HTTP, a route that the published API has not.

It only reads. The schema has no such RPC, so gRPC and batches do not offer it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import orjson
from aiohttp import web

from tocsin.api.auth import HttpKeyGuard, KeyRing
from tocsin.api.call import (
    Call,
    CommandObserver,
    CommandRunner,
    Services,
    correlation_id_from,
)
from tocsin.api.errors import http_headers, http_status
from tocsin.api.http_api import REQUEST_ID_HEADER, log_refused
from tocsin.core.errors import ApiError, InternalError

NAME = "push_funnel"
ERROR_MODE_HEADER = "X-Centrifugo-Error-Mode"


class PushFunnel:
    """`GET {prefix}/push_funnel?uid=…`, with a key of the HTTP API."""

    def __init__(
        self,
        services: Services,
        keys: KeyRing,
        *,
        prefix: str = "/api",
        transport_errors: bool = False,
        observer: CommandObserver | None = None,
    ) -> None:
        self._statuses = services.statuses
        self._runner = CommandRunner(services, observer, protocol="http")
        self._guard = HttpKeyGuard(keys)
        self._path = f"{prefix.rstrip('/')}/{NAME}"
        self._transport_errors = transport_errors

    def routes(self) -> Sequence[web.RouteDef]:
        """The one path; other verbs than GET are refused."""
        return [web.route("*", self._path, self._handle)]

    async def _handle(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            return web.Response(status=405, headers={"Allow": "GET"})
        caller = self._guard.identify(request.headers, request.rel_url.raw_query_string)
        if caller is None:
            log_refused(request, "push_funnel")
            return web.Response(status=401)
        given = request.headers.get(REQUEST_ID_HEADER, "")
        call = Call(correlation_id_from(given), caller)
        started = time.perf_counter()
        error = self._runner.admit(NAME, call)
        cause: Exception | None = None
        answer: web.Response | None = None
        try:
            if error is None:
                answer = await self._answer(request.query.get("uid", ""))
        except ApiError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - the border of a call
            error, cause = InternalError(), raised
        self._runner.note(NAME, call, time.perf_counter() - started, error, cause)
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
            answer = _json(orjson.dumps(body), status=http_status(error))
            answer.headers.update(http_headers(error))
            return answer
        return _json(orjson.dumps({"error": body}))


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(
        body=body, status=status, headers={"Content-Type": "application/json"}
    )
