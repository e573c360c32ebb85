"""A whole server for clients that are online, in this process, and its HTTP API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.tokens import sign

from tocsin.app.lifecycle import Stopper
from tocsin.app.realtime import Realtime
from tocsin.app.server import start_server
from tocsin.config import load_config

SECRET = "secret-of-a-whole-node"


def client_token(**claims: Any) -> str:
    """A token that a whole node takes."""
    return sign(claims, SECRET)


class WholeNode:
    """A server as configured, with every two-way transport on one port."""

    def __init__(
        self,
        port: int,
        realtime: Realtime,
        session: aiohttp.ClientSession,
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self.port = port
        self.stop = stop
        self.realtime = realtime
        self.origin = f"http://127.0.0.1:{port}"
        self.session = session

    async def call(self, method: str, **request: Any) -> Any:
        """The result of an API call that must succeed."""
        url = f"{self.origin}/api/{method}"
        async with self.session.post(url, json=request) as answer:
            told = await answer.json()
        assert "error" not in told, told
        return told["result"]

    async def publish(self, channel: str, *values: Any, **options: Any) -> None:
        """Publish one after the other."""
        for value in values:
            await self.call("publish", channel=channel, data=value, **options)


@asynccontextmanager
async def whole_node(folder: Path, **sections: Any) -> AsyncIterator[WholeNode]:
    """Serve a configuration with these sections until the block ends."""
    path = folder / "node.json"
    client = {"token": {"hmac_secret_key": SECRET}, **sections.pop("client", {})}
    path.write_text(
        json.dumps(
            {
                "http_server": {"address": "127.0.0.1", "port": 0},
                "http_api": {"key": "k"},
                "grpc_api": {"enabled": False},
                "http_stream": {"enabled": True},
                "sse": {"enabled": True},
                "shutdown": {"timeout": "2s"},
                "client": client,
                **sections,
            }
        )
    )
    config = load_config(str(path), environ={}).config
    async with AsyncExitStack() as stack:
        listening = await start_server(config, stack, Stopper())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"X-API-Key": "k"}, trust_env=False)
        )
        yield WholeNode(listening.http_port, listening.realtime, session, stack.aclose)
