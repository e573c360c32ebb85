"""A push that is published first, with server and worker as processes that die."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import Deployment
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, start_redis
from tests.support.subscribers import subscribed
from tests.support.tocsin_processes import COMMAND, Processes, fetch, wait_until
from tests.support.tokens import SECRET

from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

CHANNEL = "chat:derby"
GOAL = {"text": "Goal"}
SKIPPED = "centrifugo_push_online_skipped_count"
USERS = ("anna", "ben", "eve")


class Site(Deployment):
    """Server and worker apart, with channels, called over HTTP."""

    def __init__(
        self,
        processes: Processes,
        simulator: Simulator,
        database: dict[str, Any],
        redis_address: str = "",
    ) -> None:
        parts: dict[str, Any] = {
            "database": database,
            "client": {"token": {"hmac_secret_key": SECRET}},
            "channel": {"namespaces": [{"name": "chat", "presence": True}]},
        }
        queue: dict[str, Any] = {}
        if redis_address:
            self.worker_port = free_port()
            parts["worker"] = {"port": self.worker_port}
            parts["engine"] = {"type": "redis", "redis": {"address": redis_address}}
            queue = {"type": "redis", "redis": {"address": redis_address}}
        super().__init__(processes, simulator, parts, queue)

    def serve_on_another_port(self) -> int:
        """One more server; its HTTP port."""
        port = free_port()
        ports = ("--http_server.port", str(port), "--grpc_api.port", str(free_port()))
        process = self.processes.start("serve", "--config", str(self.path), *ports)
        process.wait_ready(port)
        return port

    def call(self, method: str, **request: Any) -> Any:
        url = f"http://127.0.0.1:{self.http_port}/api/{method}"
        headers = {"X-API-Key": "k"}
        body = json.dumps(request).encode()
        asked = urllib.request.Request(url, body, headers, method="POST")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found = json.loads(answer.read())
        assert "error" not in found, found
        return found["result"]

    def register(self) -> None:
        for user in USERS:
            self.call(
                "device_register",
                provider="fcm",
                token=f"{user}-phone",
                platform="android",
                user=user,
                topics=["derby"],
            )

    def send(self, wait_ms: int, **more: Any) -> str:
        answer = self.call(
            "send_push_notification",
            recipient={"filter": {"topics": ["derby"]}},
            notification={"fcm": {"message": {"notification": {"title": "Goal"}}}},
            online_first={"channel": CHANNEL, "data": GOAL, "wait_ms": wait_ms},
            **more,
        )
        uid: str = answer["uid"]
        return uid

    def wait_pushed(self, *users: str) -> None:
        """Until just these have got the push."""
        tokens = {f"{user}-phone" for user in users}
        delivered = self.simulator.ledger.delivered
        wait_until(lambda: tokens <= set(delivered), what=f"pushes to {tokens}")
        assert set(delivered) == tokens

    def funnel(self, uid: str) -> Any:
        url = f"http://127.0.0.1:{self.http_port}/api/push_funnel?uid={uid}"
        asked = urllib.request.Request(url, headers={"X-API-Key": "k"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read())["result"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test alone, since it is stopped on the way."""
    server = start_redis(tmp_path / "redis", appendonly=True)
    yield server
    server.stop()


@pytest.fixture
def apart(
    processes: Processes,
    simulator: Simulator,
    migrated_postgres_dsn: str,
    engine: RedisServer,
) -> Site:
    database = {"postgresql": {"dsn": migrated_postgres_dsn}}
    return Site(processes, simulator, database, engine.address)


@pytest.fixture
def alone(processes: Processes, simulator: Simulator, tmp_path: Path) -> Site:
    database = {"sqlite": {"path": str(tmp_path / "t.db")}}
    return Site(processes, simulator, database)


async def in_thread(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Beside the loop, which keeps the connections of subscribers."""
    call: Awaitable[Any] = asyncio.to_thread(function, *given, **named)
    return await call


async def test_a_worker_on_its_own_spares_who_was_reached(apart: Site) -> None:
    """On whichever node they are, at either look; and it counts what it spares."""
    await in_thread(apart.serve)
    port = await in_thread(apart.serve_on_another_port)
    await in_thread(apart.worker)
    await in_thread(apart.register)
    async with subscribed(port, "anna", CHANNEL) as anna:
        uid = await in_thread(apart.send, 5000)
        assert (await anna.next_publication())["data"] == GOAL
    async with subscribed(port, "eve", CHANNEL):
        await in_thread(apart.wait_pushed, "ben")

    def is_told() -> bool:
        # Who was spared may be written a flush before the one who was pushed to.
        funnel = apart.funnel(uid)
        return (funnel["failed"], funnel["sent"]) == ({"online": 2}, 1)

    await in_thread(wait_until, is_told)
    _, metrics = await in_thread(fetch, f"http://127.0.0.1:{apart.worker_port}/metrics")
    assert f'{SKIPPED}{{provider="fcm",platform="android"}} 2' in metrics
    apart.wait_pushed("ben")


async def test_a_server_that_is_killed_after_its_answer_loses_no_push(
    apart: Site,
) -> None:
    """What it published reaches other nodes, and the worker knows whom."""
    server = await in_thread(apart.serve)
    port = await in_thread(apart.serve_on_another_port)
    await in_thread(apart.register)
    async with subscribed(port, "anna", CHANNEL) as anna:
        await in_thread(apart.send, 2000)
        server.kill()
        assert (await anna.next_publication())["data"] == GOAL
    await in_thread(apart.worker)
    await in_thread(apart.wait_pushed, "ben", "eve")


async def test_a_server_that_is_killed_between_queueing_and_publishing_loses_no_push(
    processes: Processes,
    simulator: Simulator,
    migrated_postgres_dsn: str,
    engine: RedisServer,
) -> None:
    """Nothing was published, so everybody gets the push, and a repeat adds nothing."""
    site = Site(processes, simulator, {"postgresql": {"dsn": migrated_postgres_dsn}})
    redis = {"address": engine.address, "io_timeout": "60s"}
    site.change("engine", type="redis", redis=redis)
    server = await in_thread(site.serve)
    await in_thread(site.register)
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        sending = asyncio.create_task(in_thread(site.send, 0, uid="u"))
        await in_thread(wait_until, lambda: is_queued(site))
        server.kill()
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    with pytest.raises((http.client.HTTPException, OSError)):
        await sending
    await in_thread(site.worker)
    await in_thread(site.wait_pushed, *USERS)
    await in_thread(site.serve)
    async with subscribed(site.http_port, "anna", CHANNEL) as anna:
        assert await in_thread(site.send, 0, uid="u") == "u"
        assert await anna.is_silent()
    assert set(simulator.ledger.delivered.values()) == {1}


def is_queued(site: Site) -> bool:
    """Whether one walk waits, as the command line tells."""
    found = subprocess.run(
        [*COMMAND, "queue", "status", "--config", str(site.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return (
        re.search(r"^expand:fcm(:\w+)? +1 jobs", found.stdout, re.MULTILINE) is not None
    )


async def test_a_server_alone_that_is_killed_after_its_answer_loses_no_push(
    alone: Site,
) -> None:
    """Its memory is gone, so everybody gets the push when it is back."""
    server = await in_thread(alone.serve)
    await in_thread(alone.register)
    async with subscribed(alone.http_port, "anna", CHANNEL):
        await in_thread(alone.send, 4000)
        server.kill()
    await in_thread(alone.serve)
    await in_thread(alone.wait_pushed, *USERS)


async def test_a_channel_engine_that_is_away_loses_no_push(
    processes: Processes,
    simulator: Simulator,
    migrated_postgres_dsn: str,
    engine: RedisServer,
) -> None:
    """The call succeeds, the worker waits for a while, and everybody gets the push."""
    site = Site(processes, simulator, {"postgresql": {"dsn": migrated_postgres_dsn}})
    site.change("engine", type="redis", redis={"address": engine.address})
    await in_thread(site.serve)
    worker = await in_thread(site.worker)
    await in_thread(site.register)
    async with subscribed(site.http_port, "anna", CHANNEL) as anna:
        await in_thread(engine.stop)
        await in_thread(site.send, 0)
        said = "who is online cannot be read, trying again"
        await in_thread(worker.wait_event, said)
        await in_thread(engine.start_again)
        await in_thread(site.wait_pushed, *USERS)
        assert await anna.is_silent()
