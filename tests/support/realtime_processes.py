"""Nodes of the realtime corridor as processes, their API, and clients of theirs."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from tests.support.ports import free_port
from tests.support.tocsin_processes import Process, Processes
from tests.support.tokens import SECRET

from tocsin.api.methods.table import COMMANDS
from tocsin.protocol import api_pb2_grpc
from tocsin.protocol.json_codec import SERVER

KEPT = {"name": "kept", "history_size": 10, "history_ttl": "60s"}


def write(folder: Path, content: object, name: str = "c.json") -> str:
    """The path of a configuration file with this content."""
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


def serve(processes: Processes, folder: Path, name: str, **more: Any) -> Node:
    """A started node; `more` are sections of its configuration."""
    port, grpc_port = free_port(), free_port()
    config = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "http_api": {"insecure": True},
        "grpc_api": {"address": "127.0.0.1", "port": grpc_port, "insecure": True},
        "client": {"token": {"hmac_secret_key": SECRET}},
        "channel": {"namespaces": [KEPT]},
        **more,
    }
    path = write(folder, config, f"{name}.json")
    process = processes.start("serve", "--config", path)
    process.wait_ready(port)
    return Node(process, port, grpc_port, config, Path(path))


@dataclass
class Node:
    """A running node. `door` says how `call` goes in: http or grpc."""

    process: Process
    port: int
    grpc_port: int
    config: dict[str, Any]
    path: Path
    door: str = "http"

    def call(self, name: str, **params: Any) -> Any:
        """The answer as JSON, with `result` or `error`."""
        body = json.dumps(params, separators=(",", ":")).encode()
        return (
            self._by_grpc(name, body) if self.door == "grpc" else self._post(name, body)
        )

    def _post(self, name: str, body: bytes) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{name}", data=body, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def _by_grpc(self, name: str, body: bytes) -> Any:
        command = COMMANDS[name]
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub: Any = api_pb2_grpc.CentrifugoApiStub(channel)
            request = SERVER.read(command.request_class, body)
            response = getattr(stub, command.rpc)(request, timeout=30)
        return json.loads(SERVER.write(response))

    async def result(self, name: str, **params: Any) -> Any:
        """The result of a call that must succeed; the loop goes on meanwhile."""
        answer = await asyncio.to_thread(lambda: self.call(name, **params))
        assert list(answer) == ["result"], (name, params, answer)
        return answer["result"]

    def reload(self, **more: Any) -> None:
        """Change the configuration file, and say so."""
        self.path.write_text(json.dumps({**self.config, **more}))
        self.process.child.send_signal(signal.SIGHUP)


@asynccontextmanager
async def connected(node: Node, token: str) -> AsyncIterator[Client]:
    """A client that has sent its connect and taken no answer yet."""
    url = f"http://127.0.0.1:{node.port}/connection/websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        client = Client(socket)
        await client.send({"id": 1, "connect": {"token": token}})
        yield client


class Client:
    """A client over WebSocket that answers pings by itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._waiting: deque[Any] = deque()

    async def send(self, command: object) -> None:
        """Send a command of the client protocol."""
        await self._socket.send_str(json.dumps(command))

    async def next(self) -> Any:
        """The next message that is no ping, or the close code."""
        async with asyncio.timeout(30):
            while not self._waiting:
                message = await self._socket.receive()
                if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                    return self._socket.close_code
                for line in message.data.splitlines():
                    if line == "{}":
                        await self._socket.send_str("{}")
                    else:
                        self._waiting.append(json.loads(line))
        return self._waiting.popleft()

    async def push(self) -> Any:
        """The next message, which must be a push."""
        message = await self.next()
        assert "push" in message, message
        return message["push"]

    async def id(self) -> str:
        """The client id, of the reply to connect."""
        id: str = (await self.next())["connect"]["client"]
        return id
