"""Fan-out over WebSocket beside a bare aiohttp server, and memory per idle connection.

The bare server does nothing but fan out, with everything that is known to be fast:
one frame per publication, a connection's writes joined per turn of the loop. Ours is
`tocsin serve` with history, permissions and recoverable subscribers. Server and
client are processes of their own, on a processor each; rounds alternate.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.end_to_end import KEY, usage
from benchmarks.listeners import (
    CHANNEL,
    CHECKED,
    PAYLOAD_BYTES,
    Listener,
    check_order,
    open_listener,
    open_listeners,
    publish_numbered,
)
from benchmarks.servers import Server, bare, pin, tocsin

IDLE_CONNECTIONS = 5_000
WANTED_RATIO = 0.8
WANTED_IDLE_KB = 20.0
DEADLINE_S = 120.0
SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "bare": lambda: bare("fan_out"),
    "ours": tocsin,
}
# Subscribers, publishers, publications of each, rounds.
FAN_OUTS = (
    (1_000, 1, 300, 5),
    (1_000, 16, 100, 5),
    (5_000, 1, 60, 3),
    (5_000, 16, 20, 3),
)


async def fan_out(
    servers: Sequence[Server], num_subscribers: int, publishers: int, messages: int
) -> dict[str, float]:
    """Deliveries per second of servers on one port; raises for one that is lost."""
    received = 0
    expected = num_subscribers * publishers * messages
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def count(deliveries: int) -> None:
        nonlocal received
        received += deliveries
        if received == expected:
            done.set_result(loop.time())

    port = servers[0].http
    subscribers = await open_listeners(port, num_subscribers, count)
    senders = [await open_listener(port, channel="") for _ in range(publishers)]
    if len(servers) == 1:
        pin(servers[0].pid)
    gc.collect()
    gc.disable()  # it would fall into one round and not into another
    cpu_before, began = _cpu_s(servers), loop.time()
    waits = await asyncio.gather(
        *(publish_numbered(each, name, messages) for name, each in enumerate(senders))
    )
    async with asyncio.timeout(DEADLINE_S):
        took_s = await done - began
    cpu_s = _cpu_s(servers) - cpu_before
    gc.enable()
    _check(subscribers, publishers, messages)
    for client in (*subscribers, *senders):
        client.transport.abort()
    flat = sorted(wait for each in waits for wait in each)
    return {
        "per_second": expected / took_s,
        "cpu_us": cpu_s / expected * 1e6,
        "publish_p50_ms": flat[len(flat) // 2] * 1000,
        "publish_p99_ms": flat[len(flat) * 99 // 100] * 1000,
    }


def _cpu_s(servers: Sequence[Server]) -> float:
    return sum(usage(server.pid).cpu_s for server in servers)


def _check(subscribers: list[Listener], publishers: int, messages: int) -> None:
    for client in subscribers:
        if client.received != publishers * messages:
            raise RuntimeError(f"a subscriber got {client.received} publications")
    for client in subscribers[:CHECKED]:
        check_order(client, publishers, messages)


def _check_history(server: Server, published: int) -> None:
    """Ours kept a history meanwhile: its top is what was published."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http}/api/history",
        json.dumps({"channel": CHANNEL, "limit": 1}).encode(),
        {"X-API-Key": KEY},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        result = json.load(answer)["result"]
    if result["offset"] != published or not result["publications"]:
        raise RuntimeError(f"the history is not complete: {result['offset']}")


def measure_fan_out(
    subscribers: int, publishers: int, messages: int, rounds: int
) -> dict[str, Any]:
    """Both servers in turns; medians, and that of the rounds' ratios of deliveries."""
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in SERVERS}
    for _ in range(rounds):
        for kind, start in SERVERS.items():
            with start() as server, free_to_move():
                work = fan_out([server], subscribers, publishers, messages)
                runs[kind].append(uvloop.run(work))
                if kind == "ours":
                    _check_history(server, publishers * messages)
    medians = {
        kind: {
            name: statistics.median(run[name] for run in of_kind) for name in of_kind[0]
        }
        for kind, of_kind in runs.items()
    }
    return {
        "subscribers": subscribers,
        "publishers": publishers,
        "rounds": rounds,
        "figures": medians,
        "ratio": statistics.median(
            ours["per_second"] / beside["per_second"]
            for ours, beside in zip(runs["ours"], runs["bare"], strict=True)
        ),
    }


def _resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


async def _idle(server: Server, connections: int, channel: str) -> float:
    first = await open_listeners(server.http, 50, channel=channel)
    before = _resident_kb(server.pid)
    more = await open_listeners(server.http, connections, channel=channel)
    await asyncio.sleep(1)
    used = (_resident_kb(server.pid) - before) / connections
    for client in (*first, *more):
        client.transport.abort()
    return used


def measure_idle(connections: int) -> dict[str, dict[str, float]]:
    """Kilobytes of resident memory per connection, with and without a channel."""
    figures: dict[str, dict[str, float]] = {}
    for kind, start in SERVERS.items():
        figures[kind] = {}
        for name, channel in (("connected", ""), ("subscribed", CHANNEL)):
            with start() as server:
                work = _idle(server, connections, channel)
                figures[kind][name] = uvloop.run(work)
    return figures


@contextmanager
def free_to_move() -> Iterator[None]:
    """Undo the pinning of this process: what it starts next would inherit it."""
    processors = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def run(rounds: int | None = None) -> dict[str, Any]:
    """All figures of this file, in so many rounds or in those of `FAN_OUTS`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE_CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, the limit here is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        fan_out = [
            measure_fan_out(subscribers, publishers, messages, rounds or own_rounds)
            for subscribers, publishers, messages, own_rounds in FAN_OUTS
        ]
        idle = measure_idle(IDLE_CONNECTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    verdicts = [
        {
            "what": "deliveries beside bare aiohttp,"
            f" {each['subscribers']:,} subscribers, publishers: {each['publishers']}",
            "is": each["ratio"],
            "wanted": f">= {WANTED_RATIO}",
            "reached": each["ratio"] >= WANTED_RATIO,
        }
        for each in fan_out
    ]
    used = idle["ours"]["subscribed"]
    verdicts.append(
        {
            "what": "KB per idle connection with one subscription",
            "is": used,
            "wanted": f"<= {WANTED_IDLE_KB:g}",
            "reached": used <= WANTED_IDLE_KB,
        }
    )
    return {
        "payload_bytes": PAYLOAD_BYTES,
        "fan_out": fan_out,
        "idle": {"connections": IDLE_CONNECTIONS, "kb": idle},
        "verdicts": verdicts,
    }


if __name__ == "__main__":
    print(json.dumps(run(rounds=1), indent=2))
