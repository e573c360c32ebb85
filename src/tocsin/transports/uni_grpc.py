"""Transports room: the one-way gRPC stream on a port of its own.

It must not know sessions' commands: there is a connect request, then one push per
gRPC message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from tocsin.core.client_codes import SLOW, Disconnect
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol import unistream_pb2
from tocsin.protocol.frames import Encoding, WireForm
from tocsin.protocol.grpc_limits import ping_options
from tocsin.protocol.unreadable import reading
from tocsin.sessions.context import Context
from tocsin.sessions.link import Traits
from tocsin.sessions.session import Session
from tocsin.transports.admission import Admission

SERVICE = unistream_pb2.DESCRIPTOR.services_by_name["CentrifugoUniStream"].full_name
KEEPALIVE_MS = 25_000
KEEPALIVE_TIMEOUT_MS = 5_000
# How long the client may take to receive the last messages.
CLOSE_TIMEOUT_S = 5.0

_TRAITS = Traits(
    "uni_grpc",
    # A `Push` of this schema has the field numbers of the client schema's.
    WireForm(
        "one-way grpc",
        Encoding.PROTOBUF,
        lambda message: message,
        unidirectional=True,
        joinable=False,
        transport="uni_grpc",
    ),
    pushes_disconnect=True,
)


@dataclass(frozen=True, slots=True)
class UniGrpcSettings:
    """`uni_grpc.*` under its published names; `credentials` of TLS or `None`."""

    address: str = ""
    port: int = 11_000
    max_receive_message_size: int = 4 * 1024 * 1024
    credentials: grpc.ServerCredentials | None = None
    reuse_port: bool = False


class GrpcLink:
    """The edge of one stream: pushes wait here until gRPC takes the next.

    More than `limit` waiting bytes end the connection (3008); a single push may be
    larger.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._woken = asyncio.Event()
        self._deadline = asyncio.timeout(None)
        self._is_shut = False
        self.session: Session | None = None

    async def pump(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send until the connection ends.

        Raises `TimeoutError` when the other side does not take the last pushes.
        """
        async with self._deadline:
            while True:
                while self._queue:
                    push = self._queue.popleft()
                    self._size -= len(push)
                    await send(push)
                if self._is_shut:
                    return
                # No await since the queue was seen empty: no `write` is missed.
                self._woken.clear()
                await self._woken.wait()

    def write(self, data: bytes) -> None:
        """See `Link`."""
        if self._is_shut:
            return
        self._queue.append(data)
        self._size += len(data)
        self._woken.set()
        if self._size > self._limit and len(self._queue) > 1:
            self._overflow()

    def _overflow(self) -> None:
        self._queue.clear()
        self._size = 0
        if self.session is not None:
            self.session.close(SLOW)

    def ping(self) -> None:
        """See `Link`; HTTP/2 has its own, and the protocol's is an empty push."""

    def close(self, disconnect: Disconnect) -> None:  # noqa: ARG002 - it was pushed
        """See `Link`."""
        self.end()

    def end(self) -> None:
        """See `Link`."""
        self._is_shut = True
        self._woken.set()
        when_s = asyncio.get_running_loop().time() + CLOSE_TIMEOUT_S
        self._deadline.reschedule(when_s)

    def pause_reading(self) -> None:
        """See `Link`; nothing more is read."""

    def resume_reading(self) -> None:
        """See `Link`."""


_StreamContext = grpc.aio.ServicerContext[Any, Any]


class UniGrpcServer:
    """Serves `CentrifugoUniStream`; `port` is known after `start`."""

    def __init__(
        self, context: Context, admission: Admission, settings: UniGrpcSettings
    ) -> None:
        self._context = context
        self._admission = admission
        self._settings = settings
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Open the port and serve; raises `OSError` where that is not possible."""
        settings = self._settings
        server = grpc.aio.server(options=_options(settings))
        consume = grpc.unary_stream_rpc_method_handler(
            self._consume, request_deserializer=reading(pb.ConnectRequest)
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Consume": consume}),)
        )
        host = settings.address or "[::]"
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        address = f"{host}:{settings.port}"
        try:
            if settings.credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, settings.credentials)
        except RuntimeError:
            # gRPC's exception has no cause; it logs the cause itself.
            reason = "the port is in use or the address is not ours"
            raise OSError(reason) from None
        await server.start()
        self._server = server

    async def stop(self, grace_s: float) -> None:
        """Turn new streams away, and let open ones end within `grace_s`."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)

    async def _consume(
        self, request: pb.ConnectRequest | None, context: _StreamContext
    ) -> None:
        if request is None:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "bad request: body: is no message"
            )
        if not self._admission.enter():
            self._context.refusals.refuse(
                _TRAITS.name,
                context.peer(),
                code=grpc.StatusCode.UNAVAILABLE.value[0],
                reason="too many connections",
                setting=self._admission.refused_by,
            )
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "too many connections to this node"
            )
        link = GrpcLink(self._context.settings.queue_max_size)
        session = link.session = Session(self._context, link, _TRAITS, header_user="")
        try:
            session.open()
            session.start(request)
            del request
            await link.pump(context.write)
        except TimeoutError:
            await context.abort(grpc.StatusCode.CANCELLED, "the client does not read")
        finally:
            session.lost()
            link.session = None
            self._admission.leave()


def _options(settings: UniGrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.max_receive_message_length", settings.max_receive_message_size),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        *ping_options(),
    ]
