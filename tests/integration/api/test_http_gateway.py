from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tocsin.api.http_gateway import HttpGateway
from tocsin.api.listening import ListenError
from tocsin.core.errors import DependencyLost, QueueUnavailable


@asynccontextmanager
async def _open(port: int = 0, **options: Any) -> AsyncIterator[HttpGateway]:
    gateway = HttpGateway("127.0.0.1", port, **options)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def _get(gateway: HttpGateway, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{gateway.port}{path}") as response,
    ):
        return response.status, response.content_type, await response.text()


async def _works() -> None:
    """A dependency that answers."""


async def _fails() -> None:
    raise ConnectionRefusedError("postgresql://user:secret@db")


async def _hangs() -> None:
    await asyncio.Event().wait()


async def test_health_while_live() -> None:
    """Liveness says nothing but that the process answers, whatever else fails."""
    async with _open(checks={"database": _fails}) as gateway:
        assert await _get(gateway, "/health") == (200, "application/json", "{}")


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_health_by_any_verb(verb: str) -> None:
    """Some balancers ask in other ways than GET."""
    async with _open() as gateway, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{gateway.port}/health"
        async with session.request(verb, url) as response:
            assert (response.status, await response.text()) == (200, "{}")


async def test_ready() -> None:
    """Readiness names every dependency when all answer."""
    async with _open(checks={"queue": _works, "database": _works}) as gateway:
        status, _, body = await _get(gateway, "/ready")
    assert status == 200
    assert body == '{"checks": {"database": "ok", "queue": "ok"}, "ready": true}'


async def test_what_is_worth_knowing_makes_nothing_unready() -> None:
    """A queue that lost data is said to have done so, and can serve."""
    said = {"queue": "the queue lost accepted work"}
    async with _open(checks={"queue": _works}, notices=lambda: said) as gateway:
        status, _, body = await _get(gateway, "/ready")
    assert status == 200
    assert body == (
        '{"checks": {"queue": "ok"}, "notices": {"queue": "the queue lost accepted'
        ' work"}, "ready": true}'
    )


async def test_not_ready_names_what_failed() -> None:
    """A failing and a silent dependency are named, without the failure's text."""
    async with _open(
        checks={"queue": _works, "database": _fails, "redis": _hangs},
        check_timeout_s=0.05,
    ) as gateway:
        status, _, body = await _get(gateway, "/ready")
    assert status == 503
    assert '"database": "failed: ConnectionRefusedError"' in body
    assert '"redis": "no answer within 0.05 s"' in body
    assert '"queue": "ok"' in body
    assert "secret" not in body


async def test_not_ready_says_why_in_words() -> None:
    """Those of our own errors, and none of the driver's, which may name a host."""

    async def fail() -> None:
        raise QueueUnavailable("connection to 10.0.0.1 failed: no secret")

    async with _open(checks={"queue": fail}) as gateway:
        status, _, body = await _get(gateway, "/ready")
    assert status == 503
    assert '"queue": "queue is unavailable"' in body
    assert "10.0.0.1" not in body


async def test_a_flood_of_questions_asks_the_dependency_once() -> None:
    """A check writes, and anybody may ask whether this process is ready."""
    asked: list[None] = []

    async def count() -> None:
        asked.append(None)
        await asyncio.sleep(0.01)

    async with _open(checks={"queue": count}) as gateway:
        answers = await asyncio.gather(*(_get(gateway, "/ready") for _ in range(50)))
    assert {status for status, _, _ in answers} == {200}
    assert len(asked) == 1


async def test_readiness_comes_and_goes() -> None:
    """What was found is kept for a moment, not for good."""
    works = True

    async def check() -> None:
        if not works:
            raise DependencyLost("Redis refuses writes")

    async def until(status: int) -> str:
        async with asyncio.timeout(10):
            while (answer := await _get(gateway, "/ready"))[0] != status:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return answer[2]

    async with _open(checks={"queue": check}) as gateway:
        await until(200)
        works = False
        assert '"queue": "Redis refuses writes"' in await until(503)
        works = True
        await until(200)


async def test_a_check_that_hangs_is_not_begun_again() -> None:
    """Whoever asks is answered; the one under way is ended with the port."""
    begun: list[None] = []
    ended: list[None] = []

    async def hang() -> None:
        begun.append(None)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(None)

    async with _open(checks={"queue": hang}, check_timeout_s=0.02) as gateway:
        for _ in range(3):
            assert (await _get(gateway, "/ready"))[0] == 503
            gateway._known.clear()
        assert (len(begun), len(ended)) == (1, 0)
    assert len(ended) == 1


async def test_draining_is_not_ready_but_live() -> None:
    """During shutdown balancers are told to look elsewhere."""
    async with _open() as gateway:
        gateway.begin_drain()
        status, _, body = await _get(gateway, "/ready")
        assert (status, "shutting down" in body) == (503, True)
        assert (await _get(gateway, "/health"))[0] == 200


async def test_metrics() -> None:
    """The exposition is served as rendered, with its content type."""
    async with _open(
        render_metrics=lambda: (b"a 1\n", "text/plain; version=0.0.4; charset=utf-8")
    ) as gateway:
        assert await _get(gateway, "/metrics") == (200, "text/plain", "a 1\n")


async def test_what_is_off_is_not_found() -> None:
    """Without metrics and health their paths do not exist; further routes do."""

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async with _open(health=False, routes=[web.get("/api/hello", hello)]) as gateway:
        for path in ("/health", "/ready", "/metrics", "/"):
            assert (await _get(gateway, path))[0] == 404
        assert await _get(gateway, "/api/hello") == (200, "text/plain", "hello")


async def test_busy_port() -> None:
    """A port in use is an error that names address and setting."""
    async with _open() as first:
        second = HttpGateway("127.0.0.1", first.port, setting="worker.port")
        with pytest.raises(
            ListenError, match=rf"127\.0\.0\.1:{first.port}: .*in use.*worker\.port"
        ):
            await second.start()
        await second.stop()


async def test_several_processes_may_share_a_port_on_request() -> None:
    """With reuse_port a second server opens the same port, and both get callers."""
    answers = set()
    async with (
        _open(render_metrics=lambda: (b"one", "text/plain"), reuse_port=True) as one,
        _open(
            one.port, render_metrics=lambda: (b"two", "text/plain"), reuse_port=True
        ) as two,
    ):
        assert two.port == one.port
        for _ in range(64):
            answers.add((await _get(one, "/metrics"))[2])
    assert answers == {"one", "two"}


async def test_a_shared_port_is_busy_for_who_did_not_ask_to_share() -> None:
    """Without reuse_port a port that others share is an error as ever."""
    async with _open(reuse_port=True) as one:
        with pytest.raises(ListenError):
            await HttpGateway("127.0.0.1", one.port).start()


async def test_address_that_is_not_ours() -> None:
    """An address of another machine is reported with the system's words."""
    gateway = HttpGateway("192.0.2.1", 0)
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:0: .*http_server\.port"):
        await gateway.start()


async def test_port_is_free_after_stop() -> None:
    """Stopping closes the port."""
    async with _open() as gateway:
        port = gateway.port
    again = HttpGateway("127.0.0.1", port)
    await again.start()
    await again.stop()


async def test_an_answer_that_nobody_reads() -> None:
    """Who asks and does not take the answer in time is let go of."""
    huge = b"x" * (32 << 20)  # more than the sockets of both sides hold
    gateway = HttpGateway(
        "127.0.0.1",
        0,
        render_metrics=lambda: (huge, "text/plain"),
        write_timeout_s=0.3,
    )
    await gateway.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")  # and then nothing for a while
        await asyncio.sleep(0.6)
        received = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while part := await reader.read(1 << 20):
                    received += len(part)
        assert received < len(huge)
        writer.close()
    finally:
        await gateway.stop()


async def test_an_answer_that_is_read_in_time_is_whole() -> None:
    """The deadline of one answer does not end the next on the same connection."""
    gateway = HttpGateway(
        "127.0.0.1",
        0,
        render_metrics=lambda: (b"x" * (1 << 20), "text/plain"),
        write_timeout_s=5,
    )
    await gateway.start()
    try:
        async with aiohttp.ClientSession(trust_env=False) as session:
            for _ in range(3):
                url = f"http://127.0.0.1:{gateway.port}/metrics"
                async with session.get(url) as answer:
                    assert len(await answer.read()) == 1 << 20
    finally:
        await gateway.stop()
