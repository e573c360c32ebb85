"""A whole server with a worker inside, in this process, and its HTTP API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tocsin.app.lifecycle import Stopper
from tocsin.app.server import Listening, start_server
from tocsin.config import load_config
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

TOKENS = ("good-1", "good-2", "good-3", "dead-1", "toobig-1")


class Tocsin:
    """A running server, and its HTTP API with the key."""

    def __init__(self, listening: Listening, session: aiohttp.ClientSession) -> None:
        self.listening = listening
        self.session = session
        self.origin = f"http://127.0.0.1:{listening.http_port}"

    async def call(self, method: str, **request: Any) -> Any:
        url = f"{self.origin}/api/{method}"
        async with self.session.post(url, json=request) as answer:
            return await answer.json()

    async def funnel(self, uid: str) -> Any:
        url = f"{self.origin}/api/push_funnel"
        async with self.session.get(url, params={"uid": uid}) as answer:
            assert answer.status == 200
            return await answer.json()

    async def metrics(self) -> str:
        async with self.session.get(f"{self.origin}/metrics") as answer:
            return await answer.text()

    async def register(self, tokens: tuple[str, ...] = TOKENS) -> list[str]:
        ids = []
        for token in tokens:
            answer = await self.call(
                "device_register",
                provider="fcm",
                token=token,
                platform="android",
                topics=["derby"],
            )
            ids.append(answer["result"]["id"])
        return ids

    async def send(self, **more: Any) -> str:
        answer = await self.call(
            "send_push_notification",
            recipient={"filter": {"topics": ["derby"]}},
            notification={"fcm": {"message": {"notification": {"title": "Goal"}}}},
            **more,
        )
        uid: str = answer["result"]["uid"]
        return uid


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a condition that has to be asked for holds."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - asks a server, which tells nobody
            await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(
    simulator: Simulator,
    folder: Path,
    **sections: Any,
) -> AsyncIterator[Tocsin]:
    path = folder / "c.json"
    path.write_text(
        json.dumps(
            {
                "http_server": {"address": "127.0.0.1", "port": 0},
                "http_api": {"key": "k"},
                "grpc_api": {"enabled": False},
                "database": {"sqlite": {"path": str(folder / "t.db")}},
                "shutdown": {"timeout": "2s"},
                "push_notifications": {
                    "enabled_providers": ["fcm"],
                    "fcm": {
                        "credentials_file": str(simulator.of(Fcm).account_file),
                        "endpoint": simulator.origin,
                        "ca_file": str(simulator.ca_file),
                    },
                    **sections.pop("push", {}),
                },
                **sections,
            }
        )
    )
    config = load_config(str(path), environ={}).config
    async with AsyncExitStack() as stack:
        listening = await start_server(config, stack, Stopper())
        headers = {"X-API-Key": "k"}
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers=headers, trust_env=False)
        )
        yield Tocsin(listening, session)
