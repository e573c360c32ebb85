"""Publishing over each door, beside a server of the same kind that does nothing.

Also history and presence, with the memory engine and with Redis. Servers take turns
on one processor, the caller has the other; it costs far less than they do, so that
rates are theirs. Every answer's content is checked.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import uvloop
from tests.support.redis_server import start_redis

from benchmarks.end_to_end import KEY, usage
from benchmarks.listeners import CHANNEL, Listener, open_listeners
from benchmarks.load import Check, call_grpc, call_http, grpc_head
from benchmarks.servers import Options, Server, bare, pin, tocsin
from tocsin.protocol import api_pb2

DOORS = ("gRPC", "HTTP")
SECONDS = 1.5
BATCH = 100
PRESENT = 10  # clients that the presence of the channel names
READ = 10  # publications that a history call asks for
DATA = json.dumps({"text": "x" * 110}).encode()
HTTP_BODY = b'{"channel":"bench:1","data":' + DATA + b"}"
PUBLISH = api_pb2.PublishRequest(channel=CHANNEL, data=DATA)


@dataclass(frozen=True, slots=True)
class Measure:
    """One row: which server is called, and how; a call counts as `weight`."""

    server: Server
    call: Callable[[float], Coroutine[Any, Any, float]]
    weight: int = 1


@dataclass(slots=True)
class Offsets:
    """Checks that each publication has an offset of its own, or that none has one."""

    expected: bool
    seen: set[int] = field(default_factory=set)

    def take(self, result: api_pb2.PublishResult) -> None:
        """The result of one publish."""
        if not self.expected:
            return
        offset = result.offset
        if not offset or not result.epoch or offset in self.seen:
            raise RuntimeError(f"no good offset: {offset}")
        self.seen.add(offset)

    def check_message(self, message: bytes) -> None:
        """A `PublishResponse`."""
        answer = api_pb2.PublishResponse.FromString(message)
        if answer.HasField("error") or not answer.HasField("result"):
            raise RuntimeError(f"refused: {answer}")
        self.take(answer.result)

    def check_batch(self, message: bytes) -> None:
        """A `BatchResponse`."""
        answer = api_pb2.BatchResponse.FromString(message)
        if len(answer.replies) != BATCH:
            raise RuntimeError(f"{len(answer.replies)} replies came")
        for reply in answer.replies:
            self.take(reply.publish)

    def check_json(self, body: bytes) -> None:
        """The same over HTTP."""
        result = orjson.loads(body)["result"]
        self.take(api_pb2.PublishResult(**result))


def _check_history(message: bytes) -> None:
    answer = api_pb2.HistoryResponse.FromString(message)
    if len(answer.result.publications) != READ or not answer.result.offset:
        raise RuntimeError(f"not the history: {answer}")


def _check_presence(message: bytes) -> None:
    answer = api_pb2.PresenceResponse.FromString(message)
    if len(answer.result.presence) != PRESENT:
        raise RuntimeError(f"not the presence: {answer}")


def _grpc(
    server: Server, method: str, message: Any, check: Check, weight: int = 1
) -> Measure:
    head = grpc_head(server.grpc, method, KEY)
    body = message.SerializeToString()
    return Measure(
        server,
        lambda seconds: call_grpc(server.grpc, head, body, check, seconds),
        weight,
    )


def _http(server: Server, check: Check) -> Measure:
    path = "/api/publish"
    return Measure(
        server,
        lambda seconds: call_http(server.http, path, KEY, HTTP_BODY, check, seconds),
    )


def _publishing(server: Server, name: str, *, expected: bool) -> dict[str, Measure]:
    """One publish a call, over both doors."""
    offsets = Offsets(expected)
    return {
        f"{DOORS[0]} {name}": _grpc(server, "Publish", PUBLISH, offsets.check_message),
        f"{DOORS[1]} {name}": _http(server, offsets.check_json),
    }


def _whole(server: Server, engine: str) -> dict[str, Measure]:
    """Everything that is measured of a server of ours."""
    command = api_pb2.Command(publish=PUBLISH)
    batch = api_pb2.BatchRequest(commands=[command] * BATCH, parallel=engine == "Redis")
    history = api_pb2.HistoryRequest(channel=CHANNEL, limit=READ)
    presence = api_pb2.PresenceRequest(channel=CHANNEL)
    tail = f", {engine}"
    return {
        **_publishing(server, f"publish{tail}", expected=True),
        f"gRPC batch of {BATCH}{tail}": _grpc(
            server, "Batch", batch, Offsets(True).check_batch, BATCH
        ),
        f"gRPC history of {READ}{tail}": _grpc(
            server, "History", history, _check_history
        ),
        f"gRPC presence of {PRESENT}{tail}": _grpc(
            server, "Presence", presence, _check_presence
        ),
    }


def _in_turn(nothing: Server, memory: Server, shared: Server) -> dict[str, Measure]:
    """All rows; what is compared stands side by side, to see the same machine."""
    rows = {
        **_publishing(nothing, "empty", expected=False),
        **_whole(memory, "memory"),
    }
    first = [
        f"{door} {what}" for door in DOORS for what in ("empty", "publish, memory")
    ]
    return {
        **{name: rows[name] for name in first},
        **rows,
        **_whole(shared, "Redis"),
    }


async def _measure(measure: Measure, seconds: float, present: Server | None) -> float:
    """Calls per second; `present` is where somebody has to be in the channel."""
    listeners: list[Listener] = []
    if present is not None:
        listeners = await open_listeners(present.http, PRESENT)
    try:
        return await measure.call(seconds)
    finally:
        for listener in listeners:
            listener.transport.abort()
        if listeners:
            await asyncio.sleep(0.2)  # until they have left, at the server too


def run(*, rounds: int = 5, seconds: float = SECONDS) -> dict[str, Any]:
    """Medians of alternating rounds; calls per second and CPU µs of the server."""
    runs: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        redis = start_redis(folder / "redis", appendonly=True)
        stack.callback(redis.stop)
        nothing = stack.enter_context(bare("api"))
        memory = stack.enter_context(tocsin())
        shared = stack.enter_context(tocsin(Options(redis=redis.address)))
        pin(nothing.pid, memory.pid, shared.pid)
        measures = _in_turn(nothing, memory, shared)
        for _ in range(rounds):
            for name, measure in measures.items():
                present = measure.server if "presence" in name else None
                before, began = usage(measure.server.pid).cpu_s, time.perf_counter()
                rate = uvloop.run(_measure(measure, seconds, present))
                took_s = time.perf_counter() - began
                cpu_us = (usage(measure.server.pid).cpu_s - before) * 1e6
                calls = max(1.0, rate * min(seconds, took_s))
                row = (rate * measure.weight, cpu_us / calls / measure.weight)
                runs.setdefault(name, []).append(row)
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
        "verdicts": _verdicts(runs, figures),
    }


def _verdicts(
    runs: dict[str, list[tuple[float, float]]], figures: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    def ratio(door: str) -> float:
        ours, empty = runs[f"{door} publish, memory"], runs[f"{door} empty"]
        return statistics.median(
            mine / theirs for (mine, _), (theirs, _) in zip(ours, empty, strict=True)
        )

    batch = figures[f"gRPC batch of {BATCH}, memory"]["per_second"]
    wanted = [
        ("gRPC publish / empty servicer", ratio("gRPC"), 0.75),
        ("HTTP publish / empty handler", ratio("HTTP"), 0.6),
        (f"publishes/s in batches of {BATCH}", batch, 60_000.0),
    ]
    return [
        {
            "what": what,
            "is": found,
            "wanted": f">= {least:,g}",
            "reached": found >= least,
        }
        for what, found, least in wanted
    ]


if __name__ == "__main__":
    print(json.dumps(run(rounds=1), indent=2))
