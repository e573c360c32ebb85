"""What a hostile client takes from others: their latency beside floods on every door.

One `tocsin serve` with all client transports on. A well-behaved WebSocket client
publishes, and so does a back end over HTTP and over gRPC, one call after the other at
an even pace, while another process floods one door for some seconds. The flooder runs
at the lowest priority and re-opens what the server closes. What counts is the
latency of the good callers beside the round in which the flooder only burns its
processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from tests.support.ports import free_port

from benchmarks.end_to_end import KEY
from benchmarks.listeners import CHANNEL, open_listener
from benchmarks.servers import Options, Server, tocsin
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.transports.websocket_codec import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    build_frame,
)

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 2.0
PACE_S = 0.005
WANTED_P99_MS = 50.0
GIVEN_UP_S = 20.0
CONNECTIONS = (1, 50)
NOBODY = "nobody"
_SECTIONS = ("sse", "http_stream", "uni_sse", "uni_http_stream", "uni_websocket")
_PIECE = 256 * 1024

HANDSHAKE = (
    b"GET /connection/websocket%b HTTP/1.1\r\nHost: localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame; a key of zeros leaves the bytes as they are."""
    whole = build_frame(opcode, payload)
    head = len(whole) - len(payload)
    first = whole[0] if fin else whole[0] & 0x7F
    return bytes((first, whole[1] | 0x80)) + whole[2:head] + bytes(4) + payload


def _fill(piece: bytes) -> bytes:
    return piece * max(1, _PIECE // len(piece))


_CONNECT = frame(TEXT, b'{"id":1,"connect":{}}')
_H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


def _h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload
    )


def _post(path: bytes, body: bytes = b"{}", extra: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path,
        extra,
        len(body),
        body,
    )


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _calls(path: bytes, *, resets: bool) -> bytes:
    """Calls of one connection, each reset right away or left to be answered."""
    block = (
        b"\x83\x86"
        + _literal(b":path", path)
        + _literal(b":authority", b"localhost")
        + _literal(b"content-type", b"application/grpc")
        + _literal(b"te", b"trailers")
    )
    return b"".join(
        _h2_frame(1, 4, stream, block)
        + _h2_frame(0, 1, stream, bytes(5))
        + (_h2_frame(3, 0, stream, bytes((0, 0, 0, 8))) if resets else b"")
        for stream in range(1, 2_001, 2)
    )


class Flood:
    """A door, the bytes that open a connection there, and those it is flooded with."""

    def __init__(
        self,
        door: str,
        opening: bytes,
        flood: bytes,
        *,
        once: bool = False,
        linger_s: float = 0.0,
    ) -> None:
        self.door = door
        self.opening = opening
        self.flood = flood
        self.once = once
        self.linger_s = linger_s


_PUBLISH = b"/centrifugal.centrifugo.api.CentrifugoApi/Publish"
_CONSUME = b"/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"
_WS = HANDSHAKE % b""
_SUBS = b'{"id":1,"connect":{"subs":{%b}}}' % b",".join(
    b'"%x":{}' % number for number in range(6_500)
)
_FILTER = b'{"id":2,"subscribe":{"channel":"a","tf":{"nodes":[%b]}}}' % b",".join(
    [b"{}"] * 21_000
)
_UNI = HANDSHAKE.replace(b"/websocket", b"/uni_websocket") % b""
FLOODS: dict[str, Flood] = {
    "ping": Flood("http", _WS, _fill(frame(PING))),
    "pong": Flood("http", _WS, _fill(frame(PONG))),
    "ping125": Flood("http", _WS, _fill(frame(PING, b"x" * 125))),
    "text": Flood("http", _WS, _fill(frame(TEXT))),
    "binary": Flood("http", _WS, _fill(frame(BINARY))),
    "pieces": Flood(
        "http",
        _WS,
        frame(TEXT, b"{", fin=False) + _fill(frame(CONTINUATION, fin=False)),
    ),
    "spaces": Flood("http", _WS, _fill(frame(TEXT, b" " * 60_000))),
    "nested": Flood("http", _WS, _fill(frame(TEXT, b"[" * 60_000))),
    "subs": Flood("http", _WS, _fill(frame(TEXT, _SUBS))),
    "connected filters": Flood("http", _WS + _CONNECT, _fill(frame(TEXT, _FILTER))),
    "uni subs": Flood(
        "http", b"", _post(b"/connection/uni_sse", _SUBS[18:-1]), once=True
    ),
    "commands": Flood("http", _WS, _fill(frame(TEXT, b'{"id":1,"rpc":{}}\n' * 3_000))),
    "connected ping": Flood("http", _WS + _CONNECT, _fill(frame(PING))),
    "connected pong": Flood("http", _WS + _CONNECT, _fill(frame(PONG))),
    "connected rpc": Flood(
        "http", _WS + _CONNECT, _fill(frame(TEXT, b'{"id":1,"rpc":{}}'))
    ),
    "connected rpcs": Flood(
        "http", _WS + _CONNECT, _fill(frame(TEXT, b'{"id":1,"rpc":{}}\n' * 3_000))
    ),
    "connected publish": Flood(
        "http",
        _WS + _CONNECT,
        _fill(frame(TEXT, b'{"id":1,"publish":{"channel":"bench:2","data":{}}}')),
    ),
    "uni ping": Flood("http", _UNI, _fill(frame(PING))),
    "uni text": Flood("http", _UNI + frame(TEXT, b"{}"), _fill(frame(TEXT, b"{}"))),
    "http no key": Flood("http", b"", _fill(_post(b"/api/publish"))),
    "http 404": Flood("http", b"", _fill(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")),
    "http health": Flood(
        "http", b"", _fill(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    ),
    "http metrics": Flood(
        "http", b"", _fill(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    ),
    "http ready": Flood("http", b"", _fill(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")),
    "http junk": Flood("http", b"", _fill(b"\x00junk\r\n\r\n"), once=True),
    "http big head": Flood(
        "http", b"GET / HTTP/1.1\r\nHost: x\r\n", _fill(b"a: %b\r\n" % (b"x" * 4000))
    ),
    "emulation": Flood(
        "http",
        b"",
        _fill(_post(b"/emulation", b'{"node":"x","session":"y","data":"{}"}')),
    ),
    "handshakes": Flood("http", b"", _WS, once=True),
    "streams": Flood("http", b"", _post(b"/connection/http_stream", b"{}"), once=True),
    "stream bytes": Flood(
        "http",
        _post(b"/connection/http_stream", b'{"id":1,"connect":{}}'),
        _fill(b"x"),
    ),
    "sse bytes": Flood(
        "http", b"GET /connection/uni_sse HTTP/1.1\r\nHost: x\r\n\r\n", _fill(b"x")
    ),
    "body": Flood(
        "http",
        b"POST /connection/http_stream HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        _fill(b"1\r\nx\r\n"),
    ),
    "grpc ping": Flood("grpc", _H2, _fill(_h2_frame(6, 0, 0, bytes(8)))),
    "grpc settings": Flood("grpc", _H2, _fill(_h2_frame(4, 0, 0, b""))),
    "grpc resets": Flood(
        "grpc", _H2, _calls(_PUBLISH, resets=True), once=True, linger_s=0.1
    ),
    "grpc no key": Flood(
        "grpc", _H2, _calls(_PUBLISH, resets=False), once=True, linger_s=0.1
    ),
    "grpc no key, waiting": Flood(
        "grpc", _H2, _calls(_PUBLISH, resets=False), once=True, linger_s=10.0
    ),
    "grpc health": Flood(
        "grpc",
        _H2,
        _calls(b"/grpc.health.v1.Health/Watch", resets=False),
        once=True,
        linger_s=0.1,
    ),
    "uni grpc resets": Flood(
        "uni", _H2, _calls(_CONSUME, resets=True), once=True, linger_s=0.1
    ),
    "uni grpc streams": Flood(
        "uni", _H2, _calls(_CONSUME, resets=False), once=True, linger_s=0.1
    ),
    "uni grpc ping": Flood("uni", _H2, _fill(_h2_frame(6, 0, 0, bytes(8)))),
}


# --- the flooder, a process of its own ---


class _Attacker:
    def __init__(self, port: int, flood: Flood) -> None:
        self._flood = flood
        self._port = port
        self.closed = 0
        self.sent = 0
        self._ends_s = 0.0
        self.sock = self._open()

    def _open(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port))
        sock.setblocking(False)
        self._left = memoryview(self._flood.opening + self._flood.flood)
        return sock

    def act(self, events: int) -> bool:
        """Write and read what can be; False when the server has closed."""
        try:
            if events & selectors.EVENT_READ and not self.sock.recv(1 << 20):
                raise ConnectionError
            if events & selectors.EVENT_WRITE and self._left:
                count = self.sock.send(self._left)
                self.sent += count
                self._left = self._left[count:]
                if not self._left and not self._flood.once:
                    self._left = memoryview(self._flood.flood)
                self._ends_s = time.monotonic() + self._flood.linger_s
            if not self._left and time.monotonic() >= self._ends_s:
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            self.closed += 1
            self.sock.close()
            return False
        return True

    def reopen(self) -> None:
        """Connect anew."""
        self.sock = self._open()


def attack(port: int, name: str, connections: int) -> None:
    """Flood until the parent closes standard input; then print what was done."""
    os.nice(19)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    attackers = []
    if name != NOBODY:
        attackers = [_Attacker(port, FLOODS[name]) for _ in range(connections)]
    for each in attackers:
        selector.register(each.sock, both, each)
    print("begun", flush=True)
    while True:
        for key, events in selector.select(0 if name == NOBODY else None):
            each = key.data
            if each is None:
                report = {
                    "bytes": sum(each.sent for each in attackers),
                    "closed": sum(each.closed for each in attackers),
                }
                print(json.dumps(report), flush=True)
                return
            sock = each.sock
            if not each.act(events):
                selector.unregister(sock)
                while True:
                    try:
                        each.reopen()
                        break
                    except OSError:
                        time.sleep(0.01)
                selector.register(each.sock, both, each)


@contextmanager
def flooding(
    port: int, name: str, connections: int, report: dict[str, Any]
) -> Iterator[None]:
    """The flooder while the block runs; afterwards the report is filled."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.hostile",
            "--attack",
            str(port),
            name,
            str(connections),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()
        yield
        child.stdin.close()
        report.update(json.loads(child.stdout.readline()))
    finally:
        child.kill()
        child.wait()


# --- the good callers ---


async def _publish_ws(client: Any) -> None:
    message = frame(
        TEXT, b'{"id":9,"publish":{"channel":"%b","data":{"x":1}}}' % CHANNEL.encode()
    )
    await client.ask(message, b'"id":9,"publish"')


class _HttpCaller(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self._waits: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if b'"result"' in data and self._waits is not None:
            self._waits.set_result(None)
            self._waits = None

    async def publish(self) -> None:
        """One call, until its answer."""
        self._waits = asyncio.get_running_loop().create_future()
        body = b'{"channel":"%b","data":{"x":1}}' % CHANNEL.encode()
        key = b"X-API-Key: %b\r\n" % KEY.encode()
        self.transport.write(_post(b"/api/publish", body, key))
        async with asyncio.timeout(60):
            await self._waits


async def _measure(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call; one that fails or takes too long is the last."""
    waits = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        try:
            async with asyncio.timeout(GIVEN_UP_S):
                await call()
        except (TimeoutError, OSError, RuntimeError, grpc.RpcError):
            waits.append(GIVEN_UP_S)
            break
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(PACE_S)
    return waits


async def _good_callers(
    server: Server, seconds: float, flood: AbstractContextManager[Any]
) -> dict[str, list[float]]:
    client = await open_listener(server.http, channel="")
    loop = asyncio.get_running_loop()
    _, http = await loop.create_connection(_HttpCaller, "127.0.0.1", server.http)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        request = api_pb2.PublishRequest(channel=CHANNEL, data=b"{}")
        metadata = (("authorization", f"apikey {KEY}"),)

        async def publish_grpc() -> None:
            answer = await api.Publish(request, metadata=metadata, timeout=60)
            if answer.error.code:
                raise RuntimeError(answer.error.message)

        await publish_grpc()
        calls = {
            "ws": lambda: _publish_ws(client),
            "http": http.publish,
            "grpc": publish_grpc,
        }
        with flood:
            found = await asyncio.gather(
                *(_measure(call, seconds) for call in calls.values())
            )
    client.transport.abort()
    http.transport.abort()
    return dict(zip(calls, found, strict=True))


def _figures(waits: list[float]) -> dict[str, float]:
    flat = sorted(waits)
    return {
        "calls": len(flat),
        "p50_ms": flat[len(flat) // 2] * 1000,
        "p99_ms": flat[len(flat) * 99 // 100] * 1000,
        "max_ms": flat[-1] * 1000,
    }


def measure(name: str, connections: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Latencies of the good callers beside one flood of so many connections."""
    uni = free_port()
    more: dict[str, Any] = {each: {"enabled": True} for each in _SECTIONS}
    more["uni_grpc"] = {"enabled": True, "port": uni}
    with tocsin(Options(more=more)) as server:
        door = "http" if name == NOBODY else FLOODS[name].door
        port = {"http": server.http, "grpc": server.grpc, "uni": uni}[door]
        report: dict[str, Any] = {}
        flood = flooding(port, name, connections, report)
        waits = uvloop.run(_good_callers(server, seconds, flood))
    return {
        "flood": name,
        "connections": connections,
        **report,
        "latency": {door: _figures(each) for door, each in waits.items()},
    }


def run() -> list[dict[str, Any]]:
    """Every flood from one connection and from many, and nobody beside."""
    return [
        measure(name, connections)
        for connections in CONNECTIONS
        for name in (NOBODY, *FLOODS)
    ]


def main() -> None:
    """Print the figures of some floods, or be the flooder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("floods", nargs="*", metavar="FLOOD")
    parser.add_argument("--attack", nargs=3, metavar=("PORT", "NAME", "CONNECTIONS"))
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    if options.attack:
        port, name, connections = options.attack
        attack(int(port), name, int(connections))
        return
    for name in options.floods or (NOBODY, *FLOODS):
        result = measure(name, options.connections, options.seconds)
        latency = " | ".join(
            f"{door} p50 {found['p50_ms']:7.1f} p99 {found['p99_ms']:7.1f}"
            for door, found in result["latency"].items()
        )
        print(f"{name:20} {latency} | closed {result['closed']}", flush=True)


if __name__ == "__main__":
    main()
