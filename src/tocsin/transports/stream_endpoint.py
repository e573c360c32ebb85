"""Transports room: from an HTTP request to a session that streams over its answer.

It must not know the transport: a subclass reads the request and says how the answer
looks.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from tocsin.http_edge.inside import Switched, hand_over
from tocsin.hub.share import SMALL_BYTES
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import BadFrame, Encoding, decode_connect_request
from tocsin.sessions.context import Context
from tocsin.sessions.link import Traits
from tocsin.sessions.session import Session
from tocsin.transports.admission import Admission, Origins
from tocsin.transports.http_entry import (
    answer_bare,
    answer_cors,
    answer_preflight,
    check_method,
    read_body,
    refuse_at_limit,
)
from tocsin.transports.http_link import HttpAnswer, HttpLink, Stream

CONNECT_PARAMETER = "cf_connect"


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """A streaming section under its published names.

    `refusals` (`connect_code_to_http_response`, one-way only) are the answers to
    failed connects by their code; `None` is off.
    """

    max_request_body_size: int = 65_536
    refusals: Mapping[int, HttpAnswer] | None = None


@dataclass(slots=True)
class Opening:
    """What a request asks for; `begin` gives the session its first commands."""

    traits: Traits
    stream: Stream
    begin: Callable[[Session], None]


class StreamEndpoint(ABC):
    """A handler whose answer is a connection."""

    transport: str
    methods: tuple[str, ...] = ("POST",)

    def __init__(
        self,
        context: Context,
        admission: Admission,
        settings: StreamSettings | None = None,
    ) -> None:
        self._context = context
        self._admission = admission
        self.settings = settings or StreamSettings()
        self._origins = Origins(context.settings.allowed_origins)

    @abstractmethod
    async def read(self, request: web.Request) -> Opening:
        """Read the request; raises an `HTTPException` for what is wrong with it."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer, and stay until the connection ends.

        403 for a foreign origin, 405 for another verb, 503 beyond the connection
        limits, 413 for a body above the limit, 400 for one that is no request. Only the
        403 has a body; it says what to set.
        """
        refusals, name = self._context.refusals, self.transport
        cors = answer_cors(request, self._origins, refusals, name)
        if request.method == "OPTIONS":
            return answer_preflight(cors, self.methods)
        try:
            check_method(request, self.methods)
            if not self._admission.enter():
                full = refuse_at_limit(request, self._admission, refusals, name)
                full.headers.update(cors)
                return full
            try:
                await self._serve(request, cors)
            finally:
                self._admission.leave()
        except web.HTTPException as refusal:
            return answer_bare(refusal, cors)
        return Switched()

    async def _serve(self, request: web.Request, cors: Mapping[str, str]) -> None:
        opening = await self.read(request)
        began_s = time.perf_counter()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link = HttpLink(self._context, request, ended, opening.stream, cors)
        transport = request.transport
        hand_over(request, link)
        self._open(link, opening, header_user=self._header_user(request))
        self._context.hub.share.spend(time.perf_counter() - began_s)
        del request, opening, cors, link  # frees memory: the wait may take hours
        try:
            await ended
        finally:
            # The handler was cancelled: the socket is nobody's from now on.
            if not ended.done() and transport is not None:
                transport.abort()

    def _open(self, link: HttpLink, opening: Opening, *, header_user: str) -> None:
        session = Session(self._context, link, opening.traits, header_user=header_user)
        link.session = session
        link.open()  # the client gets the head at once, not only with the first message
        session.open()
        opening.begin(session)

    def _header_user(self, request: web.Request) -> str:
        header = self._context.settings.user_id_http_header
        return request.headers.get(header, "") if header else ""

    async def read_body(self, request: web.Request) -> bytes:
        """The body within the section's limit; a long one waits for a later turn."""
        body = await read_body(
            request,
            self.settings.max_request_body_size,
            self._context.settings.stale_close_delay_s,
        )
        share = self._context.hub.share
        if len(body) > SMALL_BYTES and share.is_taken:
            await share.pause(is_long=True)
        return body

    def read_connect_request(self, data: bytes) -> pb.ConnectRequest:
        """As the function; the time that it takes is reported to the hub's share."""
        began_s = time.perf_counter()
        try:
            return read_connect_request(data)
        finally:
            self._context.hub.share.spend(time.perf_counter() - began_s)


def read_connect_request(data: bytes) -> pb.ConnectRequest:
    """A one-way connect request in JSON, `null` for an empty one.

    Raises `HTTPBadRequest`.
    """
    if data.strip() == b"null":
        return pb.ConnectRequest()
    try:
        return decode_connect_request(Encoding.JSON, data)
    except BadFrame:
        raise web.HTTPBadRequest(text="invalid connect request\n") from None


def begin_frame(frame: bytes) -> Callable[[Session], None]:
    """Begin with the commands of a frame."""
    return lambda session: session.receive(frame)


def begin_connect(request: pb.ConnectRequest) -> Callable[[Session], None]:
    """Begin with a one-way connect."""
    return lambda session: session.start(request)
