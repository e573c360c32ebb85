"""Which modules one send and one subscribe pass, by room: what a reader has to open.

    python -m benchmarks walk            API, queue and worker in one process, SQLite
    python -m benchmarks walk --redis    the queue on Redis, as in production

It measures structure, not speed: an embedded server handles one send to one device,
and one client subscribes, while every call of a function of `src/tocsin` is noted.
What runs by the clock meanwhile is noted too, so two runs may differ by a module.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import jwt
from tests.support.redis_server import start_redis

import tocsin
from tocsin.app.lifecycle import Stopper
from tocsin.app.server import start_server
from tocsin.config import load_config
from tocsin.simulator.configuration import push_notifications
from tocsin.simulator.server import Simulator
from tocsin.telemetry.logs import configure_logging

KEY = "walk"
SECRET = "secret-of-the-walk-that-is-long-enough"
DEADLINE_S = 60.0
BESIDE = frozenset({"simulator", "app"})
"""Rooms that only set the stage: a provider's server, and what was built before."""
_ROOT = str(Path(tocsin.__file__).parent) + "/"


class Footprints:
    """Calls into each module of the package while it is being followed."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.functions: set[tuple[str, str]] = set()

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT):
            name = code.co_filename.removeprefix(_ROOT)
            self.calls[name] += 1
            self.functions.add((name, code.co_qualname))

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Note what is called on this thread, and on those that start meanwhile."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def rooms(self) -> Mapping[str, list[str]]:
        """The modules by room, without those that stand beside."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.calls):
            room, _, module = name.partition("/")
            if room not in BESIDE and module:
                found.setdefault(room, []).append(module)
        return found


def settings(folder: Path, simulator: Simulator, redis: str) -> dict[str, Any]:
    """An embedded server that sends to the simulator, and takes clients."""
    found: dict[str, Any] = {
        "http_server": {"address": "127.0.0.1", "port": 0},
        "http_api": {"key": KEY},
        "grpc_api": {"enabled": False},
        "database": {"sqlite": {"path": str(folder / "tocsin.db")}},
        "client": {"token": {"hmac_secret_key": SECRET}},
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_client": True,
                "presence": True,
                "history_size": 10,
                "history_ttl": "60s",
                "force_recovery": True,
            }
        },
        "push_notifications": {
            "enabled_providers": ["fcm"],
            "fcm": push_notifications(simulator)["fcm"],
        },
    }
    if redis:
        found["worker"] = {"embedded": True}
        found["push_notifications"]["queue"] = {
            "type": "redis",
            "redis": {"address": redis},
        }
    return found


async def _call(
    session: aiohttp.ClientSession, method: str, request: dict[str, Any]
) -> None:
    async with session.post(f"/api/{method}", json=request) as answer:
        told = await answer.json()
        if "error" in told:
            raise SystemExit(f"{method}: {told['error']}")


def _accepted(simulator: Simulator) -> int:
    return sum(simulator.ledger.delivered.values())


async def _send(session: aiohttp.ClientSession, simulator: Simulator) -> Footprints:
    prints = Footprints()
    message = {"message": {"notification": {"title": "now"}}}
    request = {
        "recipient": {"filter": {"topics": ["news"]}},
        "notification": {"fcm": message},
    }
    # The first send opens connections and fetches the access token: not followed.
    for followed in (False, True):
        before = _accepted(simulator)
        with ExitStack() as stack:
            if followed:
                stack.enter_context(prints.followed())
            await _call(session, "send_push_notification", request)
            while _accepted(simulator) == before:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)  # until the batch is settled
    return prints


async def _subscribe(session: aiohttp.ClientSession) -> Footprints:
    prints = Footprints()
    token = jwt.encode({"sub": "ann"}, SECRET, "HS256")
    async with session.ws_connect("/connection/websocket") as client:
        await client.send_json({"id": 1, "connect": {"token": token}})
        await client.receive_json()
        with prints.followed():
            await client.send_json({"id": 2, "subscribe": {"channel": "news"}})
            reply = await client.receive_json()
    if "subscribe" not in reply:
        raise SystemExit(f"not subscribed: {reply}")
    return prints


async def walk_through(redis: str) -> tuple[Footprints, Footprints]:
    """What one send and one subscribe passed; `redis` is the queue's address."""
    async with asyncio.timeout(DEADLINE_S), AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator = Simulator(folder / "provider")
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        path = folder / "tocsin.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(settings(folder, simulator, redis)))
        config = load_config(str(path), environ={}).config
        listening = await start_server(config, stack, Stopper())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                f"http://127.0.0.1:{listening.http_port}",
                headers={"X-API-Key": KEY},
            )
        )
        device = {
            "provider": "fcm",
            "token": "walked",
            "platform": "android",
            "topics": ["news"],
        }
        await _call(session, "device_register", device)
        return await _send(session, simulator), await _subscribe(session)


def describe(title: str, prints: Footprints) -> str:
    """The rooms and their modules as text, with the totals in front."""
    rooms = prints.rooms()
    modules = sum(len(names) for names in rooms.values())
    functions = sum(
        name.partition("/")[0] in rooms for name, _ in sorted(prints.functions)
    )
    lines = [f"{title}: {modules} modules, {functions} functions"]
    for room, names in rooms.items():
        listed = ", ".join(name.removesuffix(".py") for name in names)
        lines.append(f"  {room:<13} {len(names):>2}  {listed}")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Walk once and print what was passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks walk")
    parser.add_argument("--redis", action="store_true", help="queue on Redis")
    with ExitStack() as stack:
        # Lines are made, since they are part of the walk, and go nowhere.
        configure_logging(
            "info", stream=stack.enter_context(Path(os.devnull).open("w"))
        )
        redis = ""
        if parser.parse_args(arguments).redis:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = start_redis(folder)
            stack.callback(server.stop)
            redis = server.address
        sent, subscribed = asyncio.run(walk_through(redis))
    print(describe("one send", sent))
    print(describe("one subscribe", subscribed))
