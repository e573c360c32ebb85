"""The HTTP API over stores in memory, on a real loopback port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.support.api import ADMIN_KEY, KEY, World, operators_key, single_key

from tocsin.api.auth import KeyRing
from tocsin.api.http_api import AdminHttpApi, HttpApi, HttpApiSettings
from tocsin.api.http_gateway import HttpGateway
from tocsin.telemetry.spans import Tracer

WITH_KEY = {"X-API-Key": KEY}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: Any

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", ""))


class HttpCaller:
    """Sends to one open API."""

    def __init__(
        self,
        api: HttpApi,
        gateway: HttpGateway,
        session: aiohttp.ClientSession,
        headers: dict[str, str],
    ) -> None:
        self.api = api
        self.gateway = gateway
        self._session = session
        self._headers = headers

    @property
    def port(self) -> int:
        return self.gateway.port

    async def send(
        self,
        path: str,
        body: object = b"{}",
        *,
        verb: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; a body that is no bytes goes as compact JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":")).encode()
        async with self._session.request(
            verb,
            f"http://127.0.0.1:{self.port}{path}",
            data=body,
            headers=self._headers if headers is None else headers,
            skip_auto_headers=["Content-Type"],
        ) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def raw(self, *parts: bytes) -> bytes:
        """Everything that the server says to these bytes until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def serving_http(
    world: World,
    *,
    gateway: dict[str, Any] | None = None,
    tracer: Tracer | None = None,
    **settings: Any,
) -> AsyncIterator[HttpCaller]:
    """A started API on a free loopback port with the key `KEY`."""
    chosen = HttpApiSettings(**{"keys": single_key(), **settings})
    api = HttpApi(world.services, chosen, observer=world.observed, tracer=tracer)
    options = {"max_body_bytes": chosen.max_body_bytes, **(gateway or {})}
    async with _opened(api, options) as caller:
        yield caller


@asynccontextmanager
async def serving_admin_http(
    world: World, *, key: str = ADMIN_KEY, keys: KeyRing | None = None
) -> AsyncIterator[HttpCaller]:
    """A started `AdminApi` on a free loopback port; calls bring its usual key."""
    known = operators_key(key) if keys is None else keys
    chosen = HttpApiSettings(keys=known, prefix="/admin/api")
    api = AdminHttpApi(world.services, chosen, observer=world.observed)
    async with _opened(api, {}, headers={"X-API-Key": ADMIN_KEY}) as caller:
        yield caller


@asynccontextmanager
async def _opened(
    api: HttpApi, options: dict[str, Any], *, headers: dict[str, str] = WITH_KEY
) -> AsyncIterator[HttpCaller]:
    routes = [*options.pop("routes", ()), *api.routes()]
    port = HttpGateway("127.0.0.1", 0, routes=routes, **options)
    await port.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield HttpCaller(api, port, session, headers)
    finally:
        await port.stop()
