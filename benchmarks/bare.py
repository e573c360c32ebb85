"""Servers that do nothing but carry bytes: what ours are measured beside.

They are built with everything that is known to be fast in their library, and have
no rule, no store and no count. `python -m benchmarks.bare api GRPC HTTP` is an empty
servicer and an empty handler, `python -m benchmarks.bare fan_out HTTP` a WebSocket
server that only fans out.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc.aio
import orjson
import uvloop
from aiohttp import WSMsgType, web

from benchmarks.sink import end_with_parent
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.transports.websocket_codec import TEXT, build_frame


class EmptyServicer(api_pb2_grpc.CentrifugoApiServicer):
    """Answers Publish with nothing, as fast as grpc.aio can."""

    async def Publish(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the stub names it
        """An empty result."""
        return api_pb2.PublishResponse(result=api_pb2.PublishResult())


async def serve_api(grpc_port: int, http_port: int) -> None:
    """The empty servicer and the empty handler."""
    server = grpc.aio.server()
    add: Any = api_pb2_grpc.add_CentrifugoApiServicer_to_server
    add(EmptyServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b'{"result":{}}', content_type="application/json")

    app = web.Application()
    app.router.add_post("/api/publish", answer)
    await _serve_http(app, http_port)


class _Subscriber:
    """One connection; its writes are joined per turn of the loop."""

    __slots__ = ("_fan_out", "_queue", "_transport")

    def __init__(self, fan_out: FanOut, transport: asyncio.Transport) -> None:
        self._fan_out = fan_out
        self._transport = transport
        self._queue: list[bytes] = []

    def write(self, frame: bytes) -> None:
        if not self._queue:
            self._fan_out.due(self)
        self._queue.append(frame)

    def flush(self) -> None:
        self._transport.write(b"".join(self._queue))
        self._queue.clear()


class FanOut:
    """Everybody who subscribed gets every publication: one frame, built once."""

    def __init__(self) -> None:
        self._offset = 0
        self._subscribers: list[_Subscriber] = []
        self._due: list[_Subscriber] = []

    def due(self, subscriber: _Subscriber) -> None:
        """It has something to write at the end of this turn."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._flush)
        self._due.append(subscriber)

    def _flush(self) -> None:
        due, self._due = self._due, []
        for subscriber in due:
            subscriber.flush()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Speak as much of the client protocol as the benchmark's clients do."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        assert request.transport is not None
        me = _Subscriber(self, request.transport)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            command = orjson.loads(message.data)
            if "publish" in command:
                self._publish(command["publish"]["data"])
                answer: dict[str, Any] = {"id": command["id"], "publish": {}}
            elif "subscribe" in command:
                self._subscribers.append(me)
                answer = {"id": command["id"], "subscribe": {}}
            else:
                answer = {"id": command["id"], "connect": {}}
            me.write(build_frame(TEXT, orjson.dumps(answer)))
        return socket

    def _publish(self, data: Any) -> None:
        self._offset += 1
        publication = {"data": data, "offset": self._offset}
        push = {"push": {"channel": "bench:1", "pub": publication}}
        frame = build_frame(TEXT, orjson.dumps(push))
        for subscriber in self._subscribers:
            subscriber.write(frame)


async def serve_fan_out(http_port: int) -> None:
    """The WebSocket server."""
    app = web.Application()
    app.router.add_get("/connection/websocket", FanOut().handle)
    await _serve_http(app, http_port)


async def _serve_http(app: web.Application, port: int) -> None:
    async def ready(_request: web.Request) -> web.Response:
        return web.json_response({})

    app.router.add_get("/ready", ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    end_with_parent()
    kind, *ports = sys.argv[1:]
    serve: Any = {"api": serve_api, "fan_out": serve_fan_out}[kind]
    uvloop.run(serve(*map(int, ports)))
