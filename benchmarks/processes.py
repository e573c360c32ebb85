"""One process beside two on the same ports, with Redis between them.

`reuse_port` lets the kernel spread connections. Callers, servers and Redis share the
processors, nothing is pinned: with as many processors as processes, what two gain is
what one leaves free.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from tests.support.redis_server import start_redis

from benchmarks.end_to_end import KEY
from benchmarks.load import call_grpc, call_http, grpc_head
from benchmarks.publish import HTTP_BODY, PUBLISH, Offsets
from benchmarks.servers import Options, Server, tocsin
from benchmarks.websocket import fan_out, free_to_move

NUMBERS = (1, 2)
SECONDS = 2.0
CONNECTIONS = 16
SUBSCRIBERS, PUBLISHERS, MESSAGES = 1_000, 16, 40


@contextmanager
def _processes(number: int, redis: str) -> Iterator[list[Server]]:
    options = Options(redis=redis, reuse_port=True)
    with ExitStack() as stack:
        yield [stack.enter_context(tocsin(options)) for _ in range(number)]


async def _grpc(servers: list[Server]) -> float:
    head = grpc_head(servers[0].grpc, "Publish", KEY)
    return await call_grpc(
        servers[0].grpc,
        head,
        PUBLISH.SerializeToString(),
        Offsets(True).check_message,
        SECONDS,
        connections=CONNECTIONS,
    )


async def _http(servers: list[Server]) -> float:
    check = Offsets(True).check_json
    path, port = "/api/publish", servers[0].http
    return await call_http(port, path, KEY, HTTP_BODY, check, SECONDS)


async def _deliveries(servers: list[Server]) -> float:
    figures = await fan_out(servers, SUBSCRIBERS, PUBLISHERS, MESSAGES)
    return figures["per_second"]


WORK = {
    "gRPC publishes/s": _grpc,
    "HTTP publishes/s": _http,
    "deliveries/s": _deliveries,
}


def run(rounds: int = 3) -> dict[str, Any]:
    """Medians by number of processes."""
    runs: dict[int, dict[str, list[float]]] = {
        number: {name: [] for name in WORK} for number in NUMBERS
    }
    with TemporaryDirectory() as folder:
        redis = start_redis(Path(folder, "redis"))
        try:
            for _ in range(rounds):
                for number in NUMBERS:
                    with _processes(number, redis.address) as servers:
                        for name, work in WORK.items():
                            with free_to_move():
                                rate = uvloop.run(work(servers))
                            runs[number][name].append(rate)
        finally:
            redis.stop()
    return {
        "rounds": rounds,
        "seconds": SECONDS,
        "subscribers": SUBSCRIBERS,
        "publishers": PUBLISHERS,
        "figures": {
            number: {name: statistics.median(rates) for name, rates in row.items()}
            for number, row in runs.items()
        },
    }


if __name__ == "__main__":
    print(json.dumps(run(rounds=1), indent=2))
