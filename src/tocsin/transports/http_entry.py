"""Transports room: what every HTTP endpoint for clients checks first.

Origins, preflights and bodies; it must not know what a body says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiohttp import web

from tocsin.sessions.refusals import RefusalLog, printable
from tocsin.transports.admission import Admission, Origins

ORIGINS_KEY = "client.allowed_origins"
PREFLIGHT_AGE_S = 300
# After these the rest of the body may still come, which nobody reads: the connection
# cannot be used for another request.
_UNREAD_BODY = frozenset({408, 413})


def check_origin(
    request: web.Request, origins: Origins, refusals: RefusalLog, transport: str
) -> None:
    """Raise `HTTPForbidden` for a foreign origin; the text names the setting."""
    origin = request.headers.get("Origin")
    if origins.allows(origin):
        return
    named = printable(origin or "")
    refusals.refuse(
        transport,
        request.remote,
        code=403,
        reason="forbidden origin",
        origin=named,
        setting=ORIGINS_KEY,
    )
    raise web.HTTPForbidden(text=f"origin {named} is not in {ORIGINS_KEY}\n")


def refuse_at_limit(
    request: web.Request, admission: Admission, refusals: RefusalLog, transport: str
) -> web.Response:
    """Log and answer a request that `admission` has just refused."""
    refusals.refuse(
        transport,
        request.remote,
        code=503,
        reason="too many connections",
        setting=admission.refused_by,
    )
    return web.Response(status=503)


def answer_bare(refusal: web.HTTPException, cors: Mapping[str, str]) -> web.Response:
    """The answer of a refusal: its status and no body, as clients expect it."""
    answer = web.Response(status=refusal.status, headers=cors)
    if allowed := refusal.headers.get("Allow"):
        answer.headers["Allow"] = allowed
    if refusal.status in _UNREAD_BODY:
        answer.force_close()
    return answer


def answer_cors(
    request: web.Request, origins: Origins, refusals: RefusalLog, transport: str
) -> dict[str, str]:
    """The CORS headers of the answer; `HTTPForbidden` for a foreign origin."""
    check_origin(request, origins, refusals, transport)
    return cors_headers(request)


def cors_headers(request: web.Request) -> dict[str, str]:
    """As `answer_cors`, for a request whose origin was checked before."""
    origin = request.headers.get("Origin")
    if not origin:
        return {}
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    asked = request.headers.get("Access-Control-Request-Headers", "")
    if asked:
        headers["Access-Control-Allow-Headers"] = asked
    return headers


def answer_preflight(cors: dict[str, str], methods: Iterable[str]) -> web.Response:
    """The answer to OPTIONS."""
    return web.Response(
        status=204,
        headers={
            **cors,
            "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
            "Access-Control-Allow-Methods": ", ".join((*methods, "OPTIONS")),
        },
    )


def check_method(request: web.Request, methods: Iterable[str]) -> None:
    """Raise `HTTPMethodNotAllowed` for any other verb."""
    if request.method not in methods:
        raise web.HTTPMethodNotAllowed(request.method, (*methods, "OPTIONS"))


async def read_body(request: web.Request, limit: int, timeout_s: float) -> bytes:
    """The whole body, of `limit` bytes at most.

    Raises `HTTPRequestEntityTooLarge`, `HTTPRequestTimeout` for one that takes
    longer than `timeout_s`, and `HTTPBadRequest` for one that cannot be read.
    """
    # Refused before it is read. A body in chunks announces no length: counted below.
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise web.HTTPRequestEntityTooLarge(limit, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ValueError):
        raise web.HTTPBadRequest from None
    return bytes(body)


def is_protobuf(request: web.Request) -> bool:
    """Whether `Content-Type` says Protobuf; without one the body is JSON."""
    kind = request.headers.get("Content-Type", "")
    return kind.partition(";")[0].strip().lower() == "application/octet-stream"
