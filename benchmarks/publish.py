"""Publishing over each door, beside a server of the same kind that does nothing.

Client and server are processes of their own on the same machine; the client's cost
is the same for both, so the ratio is a cautious one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
from aiohttp import web
from tests.support.ports import free_port

from benchmarks.end_to_end import KEY, process, usage, wait_ready
from tocsin.protocol import api_pb2, api_pb2_grpc

CONCURRENCY = 50
SECONDS = 3.0
BATCH = 100
DATA = json.dumps({"text": "x" * 110}).encode()
METADATA = (("authorization", f"apikey {KEY}"),)


class EmptyServicer(api_pb2_grpc.CentrifugoApiServicer):
    """Answers Publish with nothing, as fast as grpc.aio can."""

    async def Publish(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the stub names it
        """An empty result."""
        return api_pb2.PublishResponse(result=api_pb2.PublishResult())


async def serve_empty(grpc_port: int, http_port: int) -> None:
    """Both empty servers, until the process ends."""
    server = grpc.aio.server()
    api_pb2_grpc.add_CentrifugoApiServicer_to_server(EmptyServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b'{"result":{}}', content_type="application/json")

    async def ready(_request: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.post("/api/publish", answer), web.get("/ready", ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", http_port).start()
    await asyncio.Event().wait()


async def _repeat(call: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Calls per second of `CONCURRENCY` callers."""
    count = 0
    end = time.perf_counter() + seconds

    async def call_some() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await call()
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*(call_some() for _ in range(CONCURRENCY)))
    return count / (time.perf_counter() - started)


async def _grpc_rate(port: int, seconds: float) -> float:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        request = api_pb2.PublishRequest(channel="bench:1", data=DATA)

        async def call() -> None:
            answer = await api.Publish(request, metadata=METADATA)
            if answer.error.code:
                raise SystemExit(f"refused: {answer.error.message}")

        return await _repeat(call, seconds)


async def _batch_rate(port: int, seconds: float) -> float:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        command = api_pb2.Command(
            publish=api_pb2.PublishRequest(channel="bench:1", data=DATA)
        )
        request = api_pb2.BatchRequest(commands=[command] * BATCH)

        async def call() -> None:
            answer = await api.Batch(request, metadata=METADATA)
            if len(answer.replies) != BATCH or answer.replies[0].error.code:
                raise SystemExit("a batch was refused")

        return BATCH * await _repeat(call, seconds)


async def _read_rate(port: int, seconds: float, method: str) -> float:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        if method == "history":
            call_one, request = (
                api.History,
                api_pb2.HistoryRequest(channel="bench:1", limit=10),
            )
        else:
            call_one, request = api.Presence, api_pb2.PresenceRequest(channel="bench:1")

        async def call() -> None:
            answer = await call_one(request, metadata=METADATA)
            if answer.error.code:
                raise SystemExit(f"refused: {answer.error.message}")

        return await _repeat(call, seconds)


async def _http_rate(port: int, seconds: float) -> float:
    body = b'{"channel":"bench:1","data":' + DATA + b"}"
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{port}/api/publish"
    async with aiohttp.ClientSession(headers=headers) as session:

        async def call() -> None:
            async with session.post(url, data=body) as answer:
                if b"result" not in await answer.read():
                    raise SystemExit("a publish was refused")

        return await _repeat(call, seconds)


def run(*, rounds: int = 3, seconds: float = SECONDS) -> dict[str, Any]:
    """Medians of alternating rounds; calls per second and CPU µs of the server."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [free_port() for _ in range(4)]
        config = directory / "tocsin.json"
        options = {
            "name": "bench",
            "presence": True,
            "history_size": 10,
            "history_ttl": "60s",
        }
        config.write_text(
            json.dumps(
                {
                    "http_server": {"port": ports[0]},
                    "http_api": {"key": KEY},
                    "grpc_api": {"port": ports[1], "key": KEY},
                    "channel": {"namespaces": [options]},
                }
            )
        )
        log = directory / "serve.log"
        ours = stack.enter_context(process(["serve", "--config", str(config)], log))
        command = [sys.executable, "-m", "benchmarks.publish", "serve"]
        empty = subprocess.Popen([*command, str(ports[3]), str(ports[2])])
        stack.callback(empty.wait)
        stack.callback(empty.terminate)
        wait_ready(ports[0], log)
        wait_ready(ports[2], log)
        runs: dict[str, list[tuple[float, float]]] = {}

        def measure(name: str, pid: int, work: Awaitable[float]) -> None:
            before = usage(pid).cpu_s
            started = time.perf_counter()
            rate = asyncio.run(work)  # type: ignore[arg-type] # a coroutine
            cpu_us = (usage(pid).cpu_s - before) * 1e6
            calls = rate * (time.perf_counter() - started)
            runs.setdefault(name, []).append((rate, cpu_us / max(1.0, calls)))

        for _ in range(rounds):
            measure("grpc empty", empty.pid, _grpc_rate(ports[3], seconds))
            measure("grpc publish", ours.pid, _grpc_rate(ports[1], seconds))
            measure("http empty", empty.pid, _http_rate(ports[2], seconds))
            measure("http publish", ours.pid, _http_rate(ports[0], seconds))
            measure("batch", ours.pid, _batch_rate(ports[1], seconds))
            measure("history", ours.pid, _read_rate(ports[1], seconds, "history"))
            measure("presence", ours.pid, _read_rate(ports[1], seconds, "presence"))
    figures = {
        name: {
            "per_second": statistics.median(rate for rate, _ in results),
            "cpu_us": statistics.median(cpu for _, cpu in results),
        }
        for name, results in runs.items()
    }
    return {
        "figures": figures,
        "rounds": rounds,
        "seconds": seconds,
        "verdicts": _verdicts(figures),
    }


def _verdicts(figures: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    def ratio(ours: str, empty: str) -> float:
        return figures[ours]["per_second"] / figures[empty]["per_second"]

    wanted = [
        ("gRPC publish / empty servicer", ratio("grpc publish", "grpc empty"), 0.75),
        ("HTTP publish / empty handler", ratio("http publish", "http empty"), 0.6),
        (
            f"publishes/s in batches of {BATCH}",
            figures["batch"]["per_second"],
            60_000.0,
        ),
    ]
    return [
        {
            "what": what,
            "is": found,
            "wanted": f">= {least:g}",
            "reached": found >= least,
        }
        for what, found, least in wanted
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        import uvloop

        uvloop.run(serve_empty(int(sys.argv[2]), int(sys.argv[3])))
    else:
        print(json.dumps(run(rounds=1), indent=2))
