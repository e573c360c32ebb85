"""Sections of the client transports. Part of `config`; it must not open anything."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from tocsin.config.client import Delay
from tocsin.config.fields import (
    Bool,
    FilePath,
    Int,
    Kind,
    Section,
    Text,
    parse_objects,
)
from tocsin.config.server import DEFAULT_MESSAGE_SIZE, Host, Port, Tls, check_prefix


def _check_path(value: str) -> str:
    if not value:
        raise ValueError("must begin with /")
    return check_prefix(value) or "/"


def _parse_message_size(value: object) -> object:
    return DEFAULT_MESSAGE_SIZE if value in (0, "0") else value


Path = Annotated[Text, AfterValidator(_check_path)]
BodySize = Annotated[Int, Field(ge=1, le=2**31 - 1)]


class WebSocket(Section):
    """WebSocket, in both directions."""

    disabled: Bool = False
    """do not serve WebSocket"""
    handler_prefix: Path = "/connection/websocket"
    """path"""
    write_timeout: Delay = 1.0
    """how long one write may take"""
    message_size_limit: BodySize = 65_536
    """bytes of a client's message"""


class Emulated(Section):
    """A transport whose other half is `/emulation`."""

    enabled: Bool = False
    """serve it"""
    handler_prefix: Path
    """path"""
    max_request_body_size: BodySize = 65_536
    """bytes of a request"""


class Sse(Emulated):
    """Server-sent events with emulation."""

    handler_prefix: Path = "/connection/sse"
    """path"""


class HttpStream(Emulated):
    """HTTP streaming with emulation."""

    handler_prefix: Path = "/connection/http_stream"
    """path"""


class Emulation(Section):
    """The way up of SSE and HTTP streaming."""

    handler_prefix: Path = "/emulation"
    """path"""
    max_request_body_size: BodySize = 65_536
    """bytes of a request"""


class HttpResponseTo(Section):
    """An HTTP answer."""

    status_code: Annotated[Int, Field(ge=100, le=599)]
    """HTTP status"""
    body: Text = ""
    """HTTP body"""


class HttpResponseTransform(Section):
    """The HTTP answer where a connect failed with a code."""

    code: Annotated[Int, Field(ge=0, le=2**32 - 1)]
    """error or disconnect code"""
    to: HttpResponseTo
    """what is answered"""


class ConnectCodeToHttpResponse(Section):
    """HTTP answers to failed connects."""

    enabled: Bool = False
    """use the transforms; a code without one is answered with 500"""
    transforms: Annotated[
        tuple[HttpResponseTransform, ...], BeforeValidator(parse_objects), Kind("list")
    ] = ()
    """objects such as {"code": 3500, "to": {"status_code": 401}}"""


class UniSse(Emulated):
    """Server-sent events, one-way."""

    handler_prefix: Path = "/connection/uni_sse"
    """path"""
    connect_code_to_http_response: ConnectCodeToHttpResponse = (
        ConnectCodeToHttpResponse()
    )


class UniHttpStream(Emulated):
    """HTTP streaming, one-way."""

    handler_prefix: Path = "/connection/uni_http_stream"
    """path"""
    connect_code_to_http_response: ConnectCodeToHttpResponse = (
        ConnectCodeToHttpResponse()
    )


class UniWebSocket(Section):
    """WebSocket, one-way."""

    enabled: Bool = False
    """serve it"""
    handler_prefix: Path = "/connection/uni_websocket"
    """path"""
    write_timeout: Delay = 1.0
    """how long one write may take"""
    message_size_limit: BodySize = 65_536
    """bytes of a client's message"""
    disable_closing_handshake: Bool = False
    """end without a close frame"""
    disable_disconnect_push: Bool = False
    """end without a disconnect push"""
    join_push_messages: Bool = False
    """several pushes in a frame, with newlines between"""


class UniGrpc(Section):
    """The one-way gRPC stream."""

    enabled: Bool = False
    """serve it"""
    address: Host = ""
    """listen address; empty = all"""
    port: Port = 11000
    """port; 0 = any free port"""
    max_receive_message_size: Annotated[
        Int, BeforeValidator(_parse_message_size), Field(ge=1024, le=2**31 - 1)
    ] = DEFAULT_MESSAGE_SIZE
    """bytes; 0 = the default"""
    tls: Tls = Tls()
    reuse_port: Bool = False
    """several processes on one port; off: a busy port is an error"""


class Init(Section):
    """A request that does nothing, for balancers that pin clients to a node."""

    enabled: Bool = False
    """answer it"""
    handler_prefix: Path = "/connection/init"
    """path"""


class Demo(Section):
    """A page to try the server in a browser: for development only."""

    enabled: Bool = False
    """serve it"""
    handler_prefix: Path = "/demo"
    """path"""
    sdk_file: FilePath = ""
    """another build of the browser SDK; empty = the one that comes with Tocsin"""
