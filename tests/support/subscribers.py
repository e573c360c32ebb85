"""People in a channel: a WebSocket connection each, with server-side subscriptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from tests.support.tokens import sign

DEADLINE_S = 20


class Subscriber:
    """One connection that was let in."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def next(self) -> Any:
        """The next message that is no ping."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for line in (await self._socket.receive_str()).splitlines():
                    if line != "{}":
                        return json.loads(line)
                await self._socket.send_str("{}")

    async def next_publication(self) -> Any:
        """The next publication of any channel, passing over all else."""
        while True:
            message = await self.next()
            if publication := message.get("push", {}).get("pub"):
                return publication

    async def is_silent(self) -> bool:
        """Whether nothing came that was sent before this call.

        A connection's messages keep their order, so an answer to a request shows
        that nothing before it is still under way.
        """
        asked = {"id": 99, "subscribe": {"channel": "not for clients"}}
        await self._socket.send_str(json.dumps(asked))
        return bool((await self.next()).get("id") == 99)


@asynccontextmanager
async def subscribed(
    port: int, user: str, *channels: str, token: str = ""
) -> AsyncIterator[Subscriber]:
    """A client of this user in these channels, present when the block begins."""
    token = token or sign({"sub": user, "channels": list(channels)})
    url = f"http://127.0.0.1:{port}/connection/websocket"
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.ws_connect(url) as socket,
    ):
        await socket.send_str(json.dumps({"id": 1, "connect": {"token": token}}))
        subscriber = Subscriber(socket)
        reply = await subscriber.next()
        assert sorted(reply["connect"].get("subs", {})) == sorted(channels), reply
        yield subscriber
