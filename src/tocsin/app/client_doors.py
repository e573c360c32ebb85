"""Builds the ways in for clients: transports of the HTTP port, and gRPC's own port.

Plain translation of sections; what they do is in `transports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from tocsin.config import Config
from tocsin.config.showing import show_path
from tocsin.config.transports import ConnectCodeToHttpResponse
from tocsin.core.ports.channels import ControlBus
from tocsin.sessions.context import Context
from tocsin.transports.admission import Admission
from tocsin.transports.emulation import EmulationEndpoint
from tocsin.transports.http_link import HttpAnswer
from tocsin.transports.http_stream import HttpStreamEndpoint
from tocsin.transports.init import InitEndpoint
from tocsin.transports.sse import SseEndpoint
from tocsin.transports.stream_endpoint import StreamEndpoint, StreamSettings
from tocsin.transports.uni_http_stream import UniHttpStreamEndpoint
from tocsin.transports.uni_sse import UniSseEndpoint
from tocsin.transports.uni_websocket import UniWebSocketEndpoint, UniWebSocketSettings
from tocsin.transports.websocket import WebSocketEndpoint, WebSocketSettings

if TYPE_CHECKING:  # gRPC is imported where its port is opened
    from tocsin.api.tls import DoorTls
    from tocsin.app.door_tls import DoorCertificates
    from tocsin.config.transports import UniGrpc
    from tocsin.transports.uni_grpc import UniGrpcServer

_log = structlog.get_logger(__name__)


class DemoPageError(Exception):
    """The demo page cannot be served; the text says what to do."""


def client_routes(
    config: Config, context: Context, admission: Admission, bus: ControlBus
) -> list[web.RouteDef]:
    """The routes of every client transport that is on; raises `DemoPageError`."""
    routes = _websocket_routes(config, context, admission)
    for section, kind in (
        (config.sse, SseEndpoint),
        (config.http_stream, HttpStreamEndpoint),
        (config.uni_sse, UniSseEndpoint),
        (config.uni_http_stream, UniHttpStreamEndpoint),
    ):
        if not section.enabled:
            continue
        refusals = None
        if section is config.uni_sse or section is config.uni_http_stream:
            refusals = _refusals(section.connect_code_to_http_response)
        settings = StreamSettings(section.max_request_body_size, refusals)
        endpoint: StreamEndpoint = kind(context, admission, settings)
        routes.append(web.route("*", section.handler_prefix, endpoint.handle))
    if config.sse.enabled or config.http_stream.enabled:
        emulation = config.emulation
        up = EmulationEndpoint(context, bus, emulation.max_request_body_size)
        routes.append(web.route("*", emulation.handler_prefix, up.handle))
    if config.init.enabled:
        init = InitEndpoint(context)
        routes.append(web.route("*", config.init.handler_prefix, init.handle))
    if config.demo.enabled:
        routes += _demo_routes(config)
    return routes


def _websocket_routes(
    config: Config, context: Context, admission: Admission
) -> list[web.RouteDef]:
    routes: list[web.RouteDef] = []
    websocket, uni = config.websocket, config.uni_websocket
    if not websocket.disabled:
        endpoint = WebSocketEndpoint(
            context,
            admission,
            WebSocketSettings(
                message_size_limit=websocket.message_size_limit,
                write_timeout_s=websocket.write_timeout,
            ),
        )
        routes.append(web.route("*", websocket.handler_prefix, endpoint.handle))
    if uni.enabled:
        settings = UniWebSocketSettings(
            message_size_limit=uni.message_size_limit,
            write_timeout_s=uni.write_timeout,
            disable_closing_handshake=uni.disable_closing_handshake,
            disable_disconnect_push=uni.disable_disconnect_push,
            join_push_messages=uni.join_push_messages,
        )
        one_way = UniWebSocketEndpoint(context, admission, settings)
        routes.append(web.route("*", uni.handler_prefix, one_way.handle))
    return routes


def _refusals(section: ConnectCodeToHttpResponse) -> Mapping[int, HttpAnswer] | None:
    if not section.enabled:
        return None
    return {
        each.code: HttpAnswer(each.to.status_code, each.to.body)
        for each in section.transforms
    }


def _demo_routes(config: Config) -> list[web.RouteDef]:
    from tocsin.transports.demo import DemoPage

    transports = {}
    if not config.websocket.disabled:
        transports["websocket"] = config.websocket.handler_prefix
    if config.http_stream.enabled:
        transports["http_stream"] = config.http_stream.handler_prefix
    if config.sse.enabled:
        transports["sse"] = config.sse.handler_prefix
    demo = config.demo
    try:
        page = DemoPage(
            demo.handler_prefix,
            transports,
            config.emulation.handler_prefix,
            sdk_file=Path(demo.sdk_file) if demo.sdk_file else None,
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DemoPageError(
            f"demo.sdk_file: {show_path(demo.sdk_file)} cannot be read ({reason});"
            " leave it out for the SDK that comes with Tocsin"
        ) from None
    _log.warning("the demo page is served; unset demo.enabled outside of development")
    if not config.client.allowed_origins:
        _log.warning(
            "no browser may connect, the demo page included: client.allowed_origins"
            " is empty"
        )
    return page.routes()


async def open_uni_grpc(
    config: Config,
    context: Context,
    admission: Admission,
    certificates: DoorCertificates,
    stack: AsyncExitStack,
) -> int:
    """Open the port of the one-way gRPC stream and return it; 0 where it is off.

    Raises `ListenError`; leaving `stack` closes it.
    """
    section = config.uni_grpc
    if not section.enabled:
        return 0
    from tocsin.api.listening import ListenError, check_free, join_address

    check_free(
        section.address, section.port, "uni_grpc.port", reuse_port=section.reuse_port
    )
    tls = certificates.open("uni_grpc", section.tls)
    server = _build_uni_grpc(section, context, admission, tls)
    try:
        await server.start()
    except OSError as error:
        address = join_address(section.address or "*", section.port)
        raise ListenError(address, "uni_grpc.port", str(error)) from None
    stack.push_async_callback(server.stop, config.shutdown.timeout)
    _log.info("one-way gRPC listens", port=server.port)
    return server.port


def _build_uni_grpc(
    section: UniGrpc, context: Context, admission: Admission, tls: DoorTls | None
) -> UniGrpcServer:
    from tocsin.api.grpc_server import server_credentials
    from tocsin.transports.uni_grpc import UniGrpcServer, UniGrpcSettings

    settings = UniGrpcSettings(
        address=section.address,
        port=section.port,
        max_receive_message_size=section.max_receive_message_size,
        credentials=None if tls is None else server_credentials(tls),
        reuse_port=section.reuse_port,
    )
    return UniGrpcServer(context, admission, settings)
