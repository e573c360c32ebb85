"""ClickHouse's HTTP port for tests: one that is scripted, one with chdb behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tocsin.analytics.clickhouse import ClickHouseAnalyticsStore, ClickHouseSettings
from tocsin.analytics.clickhouse_http import ClickHouseHttp
from tocsin.config.clickhouse import Address, parse_dsn

Answer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    query: dict[str, str]
    body: bytes
    user: str
    password: str

    @property
    def statement(self) -> str:
        return self.query["query"]


@dataclass
class ScriptedClickHouse:
    """Answers by script, then with an empty 200; keeps what it was asked."""

    origin: str = ""
    script: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    always: Answer | None = None

    @property
    def address(self) -> Address:
        return parse_dsn(self.origin.replace("://", "://reporter:pass%20word@"))

    @property
    def inserted(self) -> list[Asked]:
        return [a for a in self.asked if a.statement.startswith("INSERT")]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = request.headers
        self.asked.append(
            Asked(
                dict(request.query),
                body,
                headers.get("X-ClickHouse-User", ""),
                headers.get("X-ClickHouse-Key", ""),
            )
        )
        if self.script:
            return await self.script.pop(0)(request, body)
        if self.always is not None:
            return await self.always(request, body)
        return web.Response()


def fault(status: int, code: int, words: str = "DB::Exception: no") -> Answer:
    """An answer as ClickHouse gives for a statement that failed."""

    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(
            status=status,
            text=f"Code: {code}. {words}",
            headers={"X-ClickHouse-Exception-Code": str(code)},
        )

    return answer


def plain(status: int, text: str = "") -> Answer:
    """An answer as a proxy in front would give it, or a result."""

    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=status, text=text)

    return answer


async def hang_up(request: web.Request, _body: bytes) -> web.StreamResponse:
    """Cut the connection in the middle of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    assert request.transport is not None
    request.transport.abort()
    return response


async def never(_request: web.Request, _body: bytes) -> web.StreamResponse:
    """Take the rows and say nothing."""
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def _listening(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 28)
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedClickHouse]:
    """A server on a free port that does as it is told."""
    server = ScriptedClickHouse()
    async with _listening(server.handle) as server.origin:
        yield server


class _Chdb:
    """Runs statements that came over HTTP in a chdb of this process."""

    def __init__(self, directory: Path) -> None:
        from chdb import session  # type: ignore[import-not-found,unused-ignore] # opt-in

        # One thread: chdb has one session per process and is not asynchronous.
        self._thread = ThreadPoolExecutor(1)
        self._session: Any = self._thread.submit(
            session.Session, str(directory)
        ).result()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query, body = dict(request.query), await request.read()
        loop = asyncio.get_running_loop()
        try:
            content = await loop.run_in_executor(self._thread, self._run, query, body)
        except Exception as error:  # noqa: BLE001 - whatever chdb raises is its answer
            words = str(error)
            code = words.partition("Code: ")[2].partition(".")[0]
            headers = {"X-ClickHouse-Exception-Code": code or "1"}
            return web.Response(status=500, text=words, headers=headers)
        return web.Response(body=content)

    def _run(self, query: dict[str, str], body: bytes) -> bytes:
        statement = query.pop("query")
        query.pop("wait_end_of_query")
        if database := query.pop("database", ""):
            self._session.query(f"USE {database}")
        values = {
            name.removeprefix("param_"): query.pop(name)
            for name in list(query)
            if name.startswith("param_")
        }
        if body:
            settings = ", ".join(f"{name} = '{value}'" for name, value in query.items())
            head, format_, name = statement.partition(" FORMAT ")
            statement = f"{head} SETTINGS {settings}{format_}{name}\n"
            statement += body.decode("utf-8")
        result = self._session.query(statement, params=values)
        return bytes(result.bytes())

    def close(self) -> None:
        self._thread.submit(self._session.close).result()
        self._thread.shutdown()


@asynccontextmanager
async def chdb_store(directory: Path) -> AsyncIterator[ClickHouseAnalyticsStore]:
    """A store on a fresh ClickHouse in this process, over real HTTP."""
    engine = _Chdb(directory / "chdb")
    async with _listening(engine.handle) as origin:
        address = parse_dsn(origin)
        store = ClickHouseAnalyticsStore(
            ClickHouseHttp([address], "centrifugo"), ClickHouseSettings()
        )
        await store.prepare()
        yield store
        await store.close()
    engine.close()
