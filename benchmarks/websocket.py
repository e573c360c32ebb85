"""Fan-out over WebSocket beside a bare aiohttp server, and memory per idle connection.

The bare server does nothing but fan out, with everything that is known to be fast:
one frame per publication, a connection's writes joined per turn of the loop. Ours
runs with history, permissions and recoverable subscribers. Server and client are
processes of their own, on a processor each; rounds alternate and the median counts.
`python -m benchmarks.websocket`; with `serve ours|bare` it is one server.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import WSMsgType, web

from tocsin.transports.websocket_codec import TEXT, build_frame

ROOT = Path(__file__).resolve().parent.parent
MARK = b"#"  # once in every payload, and in no head of a frame
PAYLOAD_BYTES = 128
SUBSCRIBERS = 1_000
IDLE_CONNECTIONS = 5_000
CHECKED = 10  # connections whose messages are read one by one
WANTED_RATIO = 0.8
WANTED_IDLE_KB = 20.0
SERVERS = ("bare", "ours")


# --- servers -----------------------------------------------------------------


class _BareSubscriber:
    """One connection of the bare server: joins its writes per turn."""

    __slots__ = ("_is_set", "_loop", "_queue", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._queue: list[bytes] = []
        self._is_set = False
        self._loop = asyncio.get_running_loop()

    def write(self, frame: bytes) -> None:
        self._queue.append(frame)
        if not self._is_set:
            self._is_set = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_set = False
        self._transport.write(b"".join(self._queue))
        self._queue.clear()


def _bare_app() -> web.Application:
    subscribers: list[_BareSubscriber] = []
    offset = 0

    async def handle(request: web.Request) -> web.WebSocketResponse:
        nonlocal offset
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        assert request.transport is not None
        me = _BareSubscriber(request.transport)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            command = orjson.loads(message.data)
            if "publish" in command:
                offset += 1
                push = {
                    "push": {
                        "channel": "news",
                        "pub": {"data": command["publish"]["data"], "offset": offset},
                    }
                }
                frame = build_frame(TEXT, orjson.dumps(push))
                for subscriber in subscribers:
                    subscriber.write(frame)
                answer: dict[str, Any] = {"id": command["id"], "publish": {}}
            elif "subscribe" in command:
                subscribers.append(me)
                answer = {"id": command["id"], "subscribe": {}}
            else:
                answer = {"id": command["id"], "connect": {}}
            me.write(build_frame(TEXT, orjson.dumps(answer)))
        return socket

    app = web.Application()
    app.router.add_get("/connection/websocket", handle)
    return app


def _our_app() -> web.Application:
    from tests.support.realtime import build_context

    from tocsin.core.channel import ChannelOptions
    from tocsin.transports.admission import Admission
    from tocsin.transports.settings import SessionSettings
    from tocsin.transports.websocket import WebSocketEndpoint

    options = ChannelOptions(
        history_size=100,
        history_ttl=60,
        force_recovery=True,
        allow_subscribe_for_client=True,
        allow_subscribe_for_anonymous=True,
        allow_publish_for_client=True,
        allow_publish_for_anonymous=True,
    )
    context = build_context(
        SessionSettings(allow_anonymous_connect_without_token=True), options=options
    )
    endpoint = WebSocketEndpoint(context, Admission(0, 0, clock=time.monotonic))
    app = web.Application()
    app.router.add_get("/connection/websocket", endpoint.handle)
    return app


async def _serve(kind: str) -> None:
    runner = web.AppRunner(
        _our_app() if kind == "ours" else _bare_app(),
        access_log=None,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    # It lives as long as whoever started it keeps its standard input open.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def _server(kind: str) -> Iterator[tuple[int, int]]:
    """A running server's port and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.websocket", "serve", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


# --- the client --------------------------------------------------------------

_HANDSHAKE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def _masked(message: bytes) -> bytes:
    """A client's text frame; a key of zeros leaves the bytes as they are."""
    frame = build_frame(TEXT, message)
    head = len(frame) - len(message)
    return frame[:1] + bytes((frame[1] | 0x80,)) + frame[2:head] + bytes(4) + message


class _Client(asyncio.Protocol):
    """A connection that counts deliveries; `replies` gets answers to commands."""

    def __init__(self, count: Callable[[int], None], *, keeps: bool) -> None:
        self._count = count
        self._keeps = keeps
        self.kept: list[bytes] = []
        self.transport: asyncio.Transport
        self._awaited: asyncio.Future[None] | None = None
        self._until = b""
        self._seen = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        deliveries = data.count(MARK)
        if deliveries:
            self._count(deliveries)
        if self._keeps:
            self.kept.append(data)
        if self._awaited is not None:
            self._seen = (self._seen + data)[-4096:]
            if self._until in self._seen:
                self._awaited.set_result(None)
                self._awaited = None

    async def ask(self, message: bytes, until: bytes) -> None:
        self._seen, self._until = b"", until
        awaited = self._awaited = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        await awaited


async def _open(
    port: int, count: Callable[[int], None], *, subscribes: bool, keeps: bool = False
) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: _Client(count, keeps=keeps), "127.0.0.1", port
    )
    await client.ask(_HANDSHAKE, b"\r\n\r\n")
    await client.ask(_masked(b'{"id":1,"connect":{}}'), b'"id":1')
    if subscribes:
        subscribe = b'{"id":2,"subscribe":{"channel":"news"}}'
        await client.ask(_masked(subscribe), b'"id":2')
    return client


async def _open_many(
    port: int, number: int, count: Callable[[int], None], *, subscribes: bool
) -> list[_Client]:
    clients: list[_Client] = []
    while len(clients) < number:
        clients += await asyncio.gather(
            *(
                _open(
                    port, count, subscribes=subscribes, keeps=len(clients) + i < CHECKED
                )
                for i in range(min(100, number - len(clients)))
            )
        )
    return clients


async def _publish(publisher: _Client, name: int, messages: int) -> list[float]:
    waits = []
    for number in range(messages):
        text = f"#{name}.{number}.".ljust(PAYLOAD_BYTES - 2, "x")
        command = {"id": 9, "publish": {"channel": "news", "data": text}}
        began = time.perf_counter()
        await publisher.ask(_masked(orjson.dumps(command)), b'"id":9')
        waits.append(time.perf_counter() - began)
    return waits


def _check_order(client: _Client, publishers: int, messages: int) -> None:
    data = b"".join(client.kept)
    seen = [0] * publishers
    for piece in data.split(MARK)[1:]:
        name, number, _ = piece.split(b".", 2)
        if int(number) != seen[int(name)]:
            raise RuntimeError(f"publisher {name!r}: {number!r} is out of order")
        seen[int(name)] += 1
    if seen != [messages] * publishers:
        raise RuntimeError(f"publications are missing: {seen}")


async def _fan_out(
    port: int, pid: int, publishers: int, messages: int
) -> dict[str, float]:
    received = 0
    expected = SUBSCRIBERS * publishers * messages
    done = asyncio.get_running_loop().create_future()

    def count(deliveries: int) -> None:
        nonlocal received
        received += deliveries
        if received == expected:
            done.set_result(None)

    _pin(pid)
    subscribers = await _open_many(port, SUBSCRIBERS, count, subscribes=True)
    senders = [
        await _open(port, lambda _: None, subscribes=False) for _ in range(publishers)
    ]
    cpu_before, began = _cpu_s(pid), time.perf_counter()
    waits = await asyncio.gather(
        *(_publish(each, name, messages) for name, each in enumerate(senders))
    )
    async with asyncio.timeout(60):
        await done
    took_s = time.perf_counter() - began
    cpu_s = _cpu_s(pid) - cpu_before
    for client in subscribers[:CHECKED]:
        _check_order(client, publishers, messages)
    for client in (*subscribers, *senders):
        client.transport.abort()
    flat = sorted(wait for each in waits for wait in each)
    return {
        "per_second": expected / took_s,
        "cpu_us": cpu_s / expected * 1e6,
        "publish_p50_ms": flat[len(flat) // 2] * 1000,
        "publish_p99_ms": flat[len(flat) * 99 // 100] * 1000,
    }


def _pin(pid: int) -> None:
    """Server and client on a processor each: else waking one moves the other."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(pid, {processors[0]})
        os.sched_setaffinity(0, set(processors[1:]))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


async def _idle(port: int, pid: int, connections: int, *, subscribes: bool) -> float:
    first = await _open_many(port, 50, lambda _: None, subscribes=subscribes)
    before = _resident_kb(pid)
    more = await _open_many(port, connections, lambda _: None, subscribes=subscribes)
    await asyncio.sleep(1)
    used = (_resident_kb(pid) - before) / connections
    for client in (*first, *more):
        client.transport.abort()
    return used


# --- the section -------------------------------------------------------------


def measure_fan_out(publishers: int, messages: int, rounds: int) -> dict[str, Any]:
    """Both servers in turns; medians and the ratio of deliveries."""
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in SERVERS}
    for _ in range(rounds):
        for kind in SERVERS:
            with _server(kind) as (port, pid):
                runs[kind].append(uvloop.run(_fan_out(port, pid, publishers, messages)))
    medians = {
        kind: {
            name: statistics.median(run[name] for run in of_kind) for name in of_kind[0]
        }
        for kind, of_kind in runs.items()
    }
    ratio = medians["ours"]["per_second"] / medians["bare"]["per_second"]
    return {"publishers": publishers, "figures": medians, "ratio": ratio}


def measure_idle(connections: int) -> dict[str, Any]:
    """Kilobytes of resident memory per connection, with and without a channel."""
    figures: dict[str, dict[str, float]] = {}
    for kind in SERVERS:
        figures[kind] = {}
        for name, subscribes in (("connected", False), ("subscribed", True)):
            with _server(kind) as (port, pid):
                figures[kind][name] = uvloop.run(
                    _idle(port, pid, connections, subscribes=subscribes)
                )
    return {"connections": connections, "kb": figures}


def run(rounds: int = 5) -> dict[str, Any]:
    """All figures of this file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        fan_out = [measure_fan_out(1, 300, rounds), measure_fan_out(16, 100, rounds)]
        idle = measure_idle(IDLE_CONNECTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    verdicts = [
        {
            "what": f"deliveries beside bare aiohttp, publishers: {each['publishers']}",
            "is": each["ratio"],
            "wanted": f"at least {WANTED_RATIO}",
            "reached": each["ratio"] >= WANTED_RATIO,
        }
        for each in fan_out
    ]
    used = idle["kb"]["ours"]["subscribed"]
    verdicts.append(
        {
            "what": "KB per idle connection with one subscription",
            "is": used,
            "wanted": f"at most {WANTED_IDLE_KB:g}",
            "reached": used <= WANTED_IDLE_KB,
        }
    )
    return {
        "subscribers": SUBSCRIBERS,
        "payload_bytes": PAYLOAD_BYTES,
        "rounds": rounds,
        "fan_out": fan_out,
        "idle": idle,
        "verdicts": verdicts,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(_serve(sys.argv[2]))
    else:
        print(json.dumps(run(), indent=2))
