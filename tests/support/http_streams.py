"""A node with every client transport, and a client that reads streamed answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import web
from google.protobuf.json_format import MessageToDict
from tests.support.connections import connect

from tocsin.api.http_gateway import HttpGateway
from tocsin.core.ports.channels import ControlBus
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import read_varint
from tocsin.sessions.context import Context
from tocsin.transports.admission import Admission
from tocsin.transports.emulation import EmulationEndpoint
from tocsin.transports.http_stream import HttpStreamEndpoint
from tocsin.transports.sse import SseEndpoint
from tocsin.transports.stream_endpoint import StreamSettings
from tocsin.transports.uni_grpc import UniGrpcServer, UniGrpcSettings
from tocsin.transports.uni_http_stream import UniHttpStreamEndpoint
from tocsin.transports.uni_sse import UniSseEndpoint
from tocsin.transports.uni_websocket import UniWebSocketEndpoint, UniWebSocketSettings

JSON_COMMAND = '{"id":1,"connect":{}}'
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(slots=True)
class Doors:
    """Where a node's transports are open."""

    context: Context
    admission: Admission
    port: int
    grpc_port: int


@asynccontextmanager
async def open_doors(
    context: Context,
    *,
    stream: StreamSettings | None = None,
    uni_websocket: UniWebSocketSettings | None = None,
    bus: ControlBus | None = None,
    has_grpc: bool = False,
) -> AsyncIterator[Doors]:
    """Every transport under its published path, on free ports."""
    control = bus or context.control
    assert control is not None
    settings = context.settings
    admission = Admission(
        settings.connection_limit,
        settings.connection_rate_limit,
        clock=asyncio.get_running_loop().time,
    )
    limit = (stream or StreamSettings()).max_request_body_size
    handlers: dict[str, Any] = {
        "/connection/sse": SseEndpoint(context, admission, stream),
        "/connection/http_stream": HttpStreamEndpoint(context, admission, stream),
        "/connection/uni_sse": UniSseEndpoint(context, admission, stream),
        "/connection/uni_http_stream": UniHttpStreamEndpoint(
            context, admission, stream
        ),
        "/emulation": EmulationEndpoint(context, control, limit),
        "/connection/uni_websocket": UniWebSocketEndpoint(
            context, admission, uni_websocket
        ),
    }
    routes = [web.route("*", path, each.handle) for path, each in handlers.items()]
    gateway = HttpGateway("127.0.0.1", 0, routes=routes)
    await gateway.start()
    grpc = UniGrpcServer(context, admission, UniGrpcSettings("127.0.0.1", 0))
    if has_grpc:
        await grpc.start()
    try:
        yield Doors(context, admission, gateway.port, grpc.port)
    finally:
        await context.hub.close()
        await grpc.stop(1)
        await gateway.stop()
        context.wheel.close()
        for _ in range(5):  # the turns in which a loop closes its sockets
            await asyncio.sleep(0)


class StreamClient:
    """One HTTP request, and its answer piece by piece."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self._is_chunked = False
        self._rest = b""

    @classmethod
    async def dial(cls, port: int, *, receive_buffer: int = 0) -> StreamClient:
        """Connect; with `receive_buffer` the kernel takes few bytes ahead."""
        return cls(*await connect(port, receive_buffer=receive_buffer))

    @classmethod
    async def request(
        cls,
        port: int,
        path: str,
        body: bytes | str | None = None,
        *,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
        receive_buffer: int = 0,
    ) -> StreamClient:
        """Send a request and read the answer's head; POST where there is a body."""
        client = await cls.dial(port, receive_buffer=receive_buffer)
        data = body.encode() if isinstance(body, str) else body
        verb = method or ("GET" if data is None else "POST")
        fields = {"Host": "localhost", **(headers or {})}
        if data is not None:
            fields["Content-Length"] = str(len(data))
        lines = [f"{verb} {path} HTTP/{version}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        client.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (data or b""))
        await client.read_head()
        return client

    async def read_head(self) -> None:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self._is_chunked = self.headers.get("Transfer-Encoding") == "chunked"

    async def _read_piece(self) -> bytes:
        if not self._is_chunked:
            return await self.reader.read(65_536)
        line = await self.reader.readline()
        if not line:
            raise AssertionError("the answer was cut off")
        piece = await self.reader.readexactly(int(line, 16) + 2)
        assert piece.endswith(b"\r\n")
        return piece[:-2]

    async def read_until(self, end: bytes, *, timeout_s: float = 5.0) -> bytes:
        """Up to and with `end`; what there is when the answer ends before."""
        async with asyncio.timeout(timeout_s):
            while end not in self._rest:
                piece = await self._read_piece()
                if not piece:
                    found, self._rest = self._rest, b""
                    return found
                self._rest += piece
        at = self._rest.index(end) + len(end)
        found, self._rest = self._rest[:at], self._rest[at:]
        return found

    async def read_all(self, *, timeout_s: float = 10.0) -> bytes:
        """Everything to the proper end of the answer."""
        size = int(self.headers.get("Content-Length", -1))
        if size >= 0:
            async with asyncio.timeout(timeout_s):
                return await self.reader.readexactly(size)
        pieces = [self._rest]
        self._rest = b""
        async with asyncio.timeout(timeout_s):
            while piece := await self._read_piece():
                pieces.append(piece)
        return b"".join(pieces)

    async def line(self) -> Any:
        """The next message of a stream of lines; `None` at its end."""
        data = await self.read_until(b"\n")
        return json.loads(data) if data else None

    async def event(self) -> Any:
        """The next message of a stream of events; `None` at its end."""
        data = await self.read_until(b"\n\n")
        if not data:
            return None
        lines = data.decode().removeprefix("\r\n").split("\n")
        assert len(lines) == 3, data
        name, _, value = lines[0].partition(": ")
        assert name == "data", data
        return json.loads(value)

    async def delimited(self) -> Any:
        """The next message of a Protobuf stream; `None` at its end."""
        async with asyncio.timeout(5):
            while True:
                if self._rest:
                    size, at = read_varint(self._rest, 0)
                    if len(self._rest) >= at + size:
                        end = at + size
                        reply = pb.Reply.FromString(self._rest[at:end])
                        self._rest = self._rest[end:]
                        return MessageToDict(reply, preserving_proto_field_name=True)
                piece = await self._read_piece()
                if not piece:
                    assert not self._rest
                    return None
                self._rest += piece

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def with_connect(path: str, **request: Any) -> str:
    """The path with the request in its address."""
    return f"{path}?cf_connect={quote(json.dumps(request))}"


async def post_up(port: int, connected: Mapping[str, Any], *commands: Any) -> int:
    """Send commands the way up; the status."""
    body = {
        "session": connected["session"],
        "node": connected["node"],
        "data": "\n".join(json.dumps(command) for command in commands),
    }
    client = await StreamClient.request(port, "/emulation", json.dumps(body))
    await client.close()
    return client.status
