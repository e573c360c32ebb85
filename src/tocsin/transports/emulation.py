"""Transports room: takes commands of clients whose transport only streams down.

It must not know commands: it passes them to the node that has the session.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
import structlog
from aiohttp import web
from google.protobuf.message import DecodeError

from tocsin.core.errors import ApiError
from tocsin.core.ports.channels import ControlBus
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.context import Context
from tocsin.telemetry.throttle import LineThrottle
from tocsin.transports.admission import Origins
from tocsin.transports.http_entry import (
    answer_bare,
    answer_cors,
    answer_preflight,
    check_method,
    is_protobuf,
    read_body,
)

METHODS = ("POST",)
OPERATION = "emulation"

lines = LineThrottle(structlog.get_logger(__name__))


@dataclass(frozen=True, slots=True)
class EmulatedData:
    """Commands of a session, and the node that has it."""

    node: str
    session: str
    data: bytes


class EmulationEndpoint:
    """The handler of `/emulation`."""

    def __init__(
        self, context: Context, bus: ControlBus, max_request_body_size: int = 65_536
    ) -> None:
        self._bus = bus
        self._limit = max_request_body_size
        self._timeout_s = context.settings.stale_close_delay_s
        self._refusals = context.refusals
        self._origins = Origins(context.settings.allowed_origins)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """204 once the commands are on their way, also to a session that is gone.

        404 for an unknown node, 400 for a bad body, 413 for one above the limit,
        405 for another verb, 403 for a foreign origin, 503 while the other nodes
        cannot be reached. Only the 403 has a body.
        """
        cors = answer_cors(request, self._origins, self._refusals, "emulation")
        if request.method == "OPTIONS":
            return answer_preflight(cors, METHODS)
        try:
            check_method(request, METHODS)
            body = await read_body(request, self._limit, self._timeout_s)
            read = read_protobuf if is_protobuf(request) else read_json
            await self._pass_on(read(body))
        except web.HTTPException as refusal:
            return answer_bare(refusal, cors)
        return web.Response(status=204, headers=cors)

    async def _pass_on(self, emulated: EmulatedData) -> None:
        # As `Hub` takes them apart: the session id ends at the first newline.
        params = emulated.session.encode() + b"\n" + emulated.data
        try:
            is_known = await self._bus.send_to_node(emulated.node, OPERATION, params)
        except ApiError as error:
            lines.warning(
                "what a client sent did not reach its node",
                node=emulated.node,
                reason=str(error),
            )
            raise web.HTTPServiceUnavailable from None
        if not is_known:
            raise web.HTTPNotFound


def read_json(body: bytes) -> EmulatedData:
    """`data` is a string that holds the frame; raises `HTTPBadRequest`."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad_request() from None
    if request is None:  # `null` counts as an empty object
        request = {}
    if not isinstance(request, dict):
        raise _bad_request()
    values = [request.get(name) for name in ("node", "session", "data")]
    if not all(value is None or isinstance(value, str) for value in values):
        raise _bad_request()
    node, session, data = (value or "" for value in values)
    return EmulatedData(node, session, data.encode())


def read_protobuf(body: bytes) -> EmulatedData:
    """An `EmulationRequest`; raises `HTTPBadRequest`."""
    try:
        request = pb.EmulationRequest.FromString(body)
    except DecodeError:
        raise _bad_request() from None
    return EmulatedData(request.node, request.session, request.data)


def _bad_request() -> web.HTTPBadRequest:
    return web.HTTPBadRequest()
