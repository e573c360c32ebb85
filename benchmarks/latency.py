"""How long one send takes to reach the provider, and how many calls are accepted.

An idle deployment (PostgreSQL, Redis, one server, one worker) and a simulator in
this process, which notes when a push arrives.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
from tests.support.fill import fill_postgres
from tests.support.ports import free_port
from tests.support.postgres import start_postgres
from tests.support.redis_server import start_redis

from benchmarks.end_to_end import KEY, TOPIC, process, wait_ready
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

SINGLES = 200
BODY = b'{"notification":{"title":"Kick-off"}}'


class Deployment:
    """Everything started; `grpc_port` and `http_port` answer."""

    def __init__(self, stack: ExitStack, simulator: Simulator, devices: int) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.chmod(0o755)
        postgres = start_postgres(directory / "pg", fsync=True)
        stack.callback(postgres.stop)
        redis = start_redis(directory / "redis", appendonly=True)
        stack.callback(redis.stop)
        dsn = postgres.create_database("tocsin")
        self.http_port, self.grpc_port, worker_port = (free_port() for _ in range(3))
        config = {
            "http_server": {"port": self.http_port},
            "http_api": {"key": KEY},
            "grpc_api": {"port": self.grpc_port, "key": KEY},
            "database": {"postgresql": {"dsn": dsn}},
            "worker": {"port": worker_port},
            "push_notifications": {
                "enabled_providers": ["fcm"],
                "queue": {"redis": {"address": redis.address}},
                "fcm": {
                    "credentials_file": simulator.of(Fcm).account_file,
                    "endpoint": simulator.origin,
                    "ca_file": simulator.ca_file,
                },
            },
        }
        path = directory / "tocsin.json"
        path.write_text(json.dumps(config))
        for verb, port in (("serve", self.http_port), ("worker", worker_port)):
            log = directory / f"{verb}.log"
            stack.enter_context(process([verb, "--config", str(path)], log))
            wait_ready(port, log)
        fill_postgres(dsn, [f"device-{n:08d}" for n in range(devices)], TOPIC)


class Arrivals:
    """When a token's push reached the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.at: dict[str, float] = {}
        self._answer: Callable[[Request], Reply] = simulator.answer
        simulator.answer = self._note  # type: ignore[method-assign] # watched, not changed

    async def wait_for(self, prefix: str, count: int) -> None:
        """Until that many tokens with the prefix have arrived."""
        async with asyncio.timeout(120):
            while sum(token.startswith(prefix) for token in self.at) < count:
                await asyncio.sleep(0.2)

    def _note(self, request: Request) -> Reply:
        if request.path.endswith("messages:send"):
            token = json.loads(request.body)["message"].get("token", "")
            self.at.setdefault(token, time.perf_counter())
        return self._answer(request)


def make_send(token: str) -> api_pb2.SendPushNotificationRequest:
    """A send to one raw token."""
    return api_pb2.SendPushNotificationRequest(
        recipient=api_pb2.PushRecipient(fcm_tokens=[token]),
        notification=api_pb2.PushNotification(
            fcm=api_pb2.FcmPushNotification(message=BODY)
        ),
    )


async def measure_singles(api: Any, arrivals: Arrivals) -> dict[str, float]:
    """One send after the other; milliseconds from the call to the arrival."""
    metadata = (("authorization", f"apikey {KEY}"),)
    reached: list[float] = []
    answered: list[float] = []
    for number in range(SINGLES + 20):
        token = f"single-{number}"
        started = time.perf_counter()
        answer = await api.SendPushNotification(make_send(token), metadata=metadata)
        if answer.error.code:
            raise SystemExit(f"refused: {answer.error.message}")
        answered.append((time.perf_counter() - started) * 1000)
        async with asyncio.timeout(30):
            while token not in arrivals.at:
                await asyncio.sleep(0.0005)
        reached.append((arrivals.at[token] - started) * 1000)
        await asyncio.sleep(0.005)
    reached, answered = reached[20:], answered[20:]
    return {
        "answered_p50_ms": statistics.median(answered),
        "reached_p50_ms": statistics.median(reached),
        "reached_p99_ms": statistics.quantiles(reached, n=100)[98],
    }


async def measure_topic(api: Any) -> float:
    """Milliseconds until a send to the whole topic is accepted; median of five."""
    metadata = (("authorization", f"apikey {KEY}"),)
    times = []
    for number in range(5):
        request = make_send("")
        request.recipient.Clear()
        request.recipient.filter.topics.append(TOPIC)
        request.notification.expire_at = int(time.time()) + 1
        request.uid = f"topic-{number}"
        started = time.perf_counter()
        await api.SendPushNotification(request, metadata=metadata)
        times.append((time.perf_counter() - started) * 1000)
        # It expires in a second: the next one meets an idle deployment again.
        await asyncio.sleep(3)
    return statistics.median(times)


async def measure_beside_a_broadcast(api: Any, arrivals: Arrivals) -> float:
    """Milliseconds of single sends, one after the other, beside a broadcast; median."""
    metadata = (("authorization", f"apikey {KEY}"),)
    request = make_send("")
    request.recipient.Clear()
    request.recipient.filter.topics.append(TOPIC)
    # It ends by itself soon after the singles: what follows meets an idle deployment.
    request.notification.expire_at = int(time.time()) + 6
    await api.SendPushNotification(request, metadata=metadata)
    await arrivals.wait_for("device-", 1000)
    reached: list[float] = []
    for number in range(30):
        token, started = f"beside-{number}", time.perf_counter()
        await api.SendPushNotification(make_send(token), metadata=metadata)
        async with asyncio.timeout(30):
            while token not in arrivals.at:
                await asyncio.sleep(0.0005)
        reached.append((arrivals.at[token] - started) * 1000)
        await asyncio.sleep(0.05)
    await asyncio.sleep(5)
    return statistics.median(reached)


async def accept_grpc(api: Any, count: int, concurrency: int) -> float:
    """Sends accepted per second over gRPC."""
    metadata = (("authorization", f"apikey {KEY}"),)
    numbers = iter(range(count))

    async def call_some() -> None:
        for number in numbers:
            request = make_send(f"accept-{number}")
            await api.SendPushNotification(request, metadata=metadata)

    started = time.perf_counter()
    await asyncio.gather(*(call_some() for _ in range(concurrency)))
    return count / (time.perf_counter() - started)


async def accept_http(port: int, count: int, concurrency: int) -> float:
    """Sends accepted per second over the HTTP API."""
    url = f"http://127.0.0.1:{port}/api/send_push_notification"
    numbers = iter(range(count))
    headers = {"X-API-Key": KEY}

    async def call_some(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = {
                "recipient": {"fcm_tokens": [f"http-{number}"]},
                "notification": {"fcm": {"message": json.loads(BODY)}},
            }
            async with session.post(url, json=body) as answer:
                result = await answer.json()
                if "error" in result:
                    raise SystemExit(f"refused: {result}")

    async with aiohttp.ClientSession(headers=headers) as session:
        started = time.perf_counter()
        await asyncio.gather(*(call_some(session) for _ in range(concurrency)))
        return count / (time.perf_counter() - started)


async def register(api: Any, count: int, concurrency: int) -> float:
    """Devices registered per second over gRPC."""
    metadata = (("authorization", f"apikey {KEY}"),)
    numbers = iter(range(count))

    async def call_some() -> None:
        for number in numbers:
            request = api_pb2.DeviceRegisterRequest(
                provider="fcm",
                token=f"registered-{number}-{'x' * 120}",
                platform="android",
                user=f"u{number % 500}",
                topics=["registered"],
            )
            answer = await api.DeviceRegister(request, metadata=metadata)
            if answer.error.code:
                raise SystemExit(f"refused: {answer.error.message}")

    started = time.perf_counter()
    await asyncio.gather(*(call_some() for _ in range(concurrency)))
    return count / (time.perf_counter() - started)


async def _measure(devices: int) -> dict[str, Any]:
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(folder)
        await simulator.start()
        arrivals = Arrivals(simulator)
        # Started in a thread: this loop has to go on answering meanwhile.
        at = await asyncio.to_thread(Deployment, stack, simulator, devices)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{at.grpc_port}") as channel:
            api = api_pb2_grpc.CentrifugoApiStub(channel)
            result: dict[str, Any] = await measure_singles(api, arrivals)
            result["topic_answered_ms"] = await measure_topic(api)
            result["beside_broadcast_p50_ms"] = await measure_beside_a_broadcast(
                api, arrivals
            )
            result["registered_per_s"] = await register(api, 5000, 64)
            result["grpc_accepted_per_s"] = await accept_grpc(api, 3000, 32)
            await arrivals.wait_for("accept-", 3000)
            result["http_accepted_per_s"] = await accept_http(at.http_port, 3000, 32)
            await arrivals.wait_for("http-", 3000)
            result["devices"] = devices
        await simulator.stop()
        await asyncio.to_thread(stack.close)
    return result


def run(*, devices: int = 1_000_000) -> dict[str, Any]:
    """Measure once; milliseconds and calls per second."""
    return asyncio.run(_measure(devices))


if __name__ == "__main__":
    print(json.dumps(run(devices=20_000), indent=2))
