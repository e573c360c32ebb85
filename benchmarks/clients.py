"""The clients that `engine.py` compares, each in a closed loop of 100 in flight.

Run as a process of its own: `python -m benchmarks.clients NAME ORIGIN CA_FILE SECONDS`
prints one line of JSON. Every client sends the same head and body and looks at every
status and body that comes back.
"""

from __future__ import annotations

import asyncio
import collections
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.sink import SEND_ANSWER, SEND_PATH, trusting_context

IN_FLIGHT = 100
WARM_UP_S = 0.7
EXPECTED = SEND_ANSWER.encode()
HEADERS = {
    "authorization": "Bearer ya29." + "aZ09_-bY" * 20,
    "content-type": "application/json",
}


def fcm_body() -> bytes:
    """A message as FCM gets it: 420 bytes."""
    message = {
        "message": {
            "token": "dQw4w9WgXcQ:APA91b" + "Hh7Yk2" * 20 + "Xy",
            "notification": {"title": "Order 10492 is on its way", "body": ""},
            "data": {"order": "10492", "kind": "shipment"},
            "android": {"priority": "HIGH", "ttl": "3600s", "collapse_key": "orders"},
        }
    }
    missing = 420 - len(json.dumps(message))
    message["message"]["notification"]["body"] = "x" * missing  # type: ignore[index] # a dict
    return json.dumps(message).encode()


BODY = fcm_body()


@dataclass
class Tally:
    """What a client counts, and when it shall stop."""

    done: int = 0
    stop: bool = False
    wrong: collections.Counter[str] = field(default_factory=collections.Counter)

    def count(self, status: int, body: bytes) -> None:
        """One answer came; anything but the expected one is noted by its status."""
        self.done += 1
        if status != 200 or body != EXPECTED:
            self.wrong[str(status)] += 1


@dataclass(frozen=True)
class Target:
    """Where to send."""

    origin: str
    ca_file: str

    @property
    def url(self) -> str:
        return self.origin + SEND_PATH

    def context(self, *protocols: str) -> ssl.SSLContext:
        return trusting_context(self.ca_file, *protocols)


async def engine(target: Target, tally: Tally) -> None:
    """Tocsin's own: one connection, submit as there is room."""
    from tocsin.http2 import (
        Failure,
        Http2Pool,
        RequestHead,
        Response,
        build_ssl_context,
    )

    pool = Http2Pool(
        target.origin,
        ssl_context=build_ssl_context(target.ca_file),
        max_connections=1,
        max_streams=IN_FLIGHT,
    )
    head = RequestHead.build("POST", target.origin, SEND_PATH, HEADERS)

    def done(result: Response | Failure) -> None:
        if isinstance(result, Failure):
            tally.wrong[result.kind] += 1
        else:
            tally.count(result.status, result.body)

    while not tally.stop:
        await pool.wait_room()
        for _ in range(pool.room()):
            pool.submit(head, BODY, done)
    await pool.aclose()


class _H2Loop(asyncio.Protocol):
    """A loop over the `h2` library, one write per read: what others build on it."""

    def __init__(self, target: Target, tally: Tally) -> None:
        from h2.connection import H2Connection

        self.tally = tally
        self.conn = H2Connection()
        self.lost = asyncio.get_running_loop().create_future()
        self.answers: dict[int, list[Any]] = {}
        self.headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", urlsplit(target.origin).netloc),
            (":path", SEND_PATH),
            *HEADERS.items(),
        ]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.conn.initiate_connection()
        for _ in range(IN_FLIGHT):
            self.send()
        transport.write(self.conn.data_to_send())

    def send(self) -> None:
        stream = self.conn.get_next_available_stream_id()
        self.answers[stream] = [0, b""]
        self.conn.send_headers(stream, self.headers)
        self.conn.send_data(stream, BODY, end_stream=True)

    def data_received(self, data: bytes) -> None:
        from h2 import events

        for event in self.conn.receive_data(data):
            if isinstance(event, events.ResponseReceived):
                self.answers[event.stream_id][0] = int(dict(event.headers)[b":status"])
            elif isinstance(event, events.DataReceived):
                self.answers[event.stream_id][1] += event.data
                self.conn.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, events.StreamEnded):
                self.tally.count(*self.answers.pop(event.stream_id))
                if not self.tally.stop:
                    self.send()
                elif not self.answers:
                    self.transport.close()
        self.transport.write(self.conn.data_to_send())

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set_result(None)


async def h2_loop(target: Target, tally: Tally) -> None:
    """One connection."""
    parts = urlsplit(target.origin)
    assert parts.hostname is not None
    assert parts.port is not None
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: _H2Loop(target, tally),
        parts.hostname,
        parts.port,
        ssl=target.context("h2"),
    )
    await protocol.lost


async def _hundred(
    tally: Tally, one: Callable[[], Awaitable[tuple[int, bytes]]]
) -> None:
    async def worker() -> None:
        while not tally.stop:
            tally.count(*await one())

    await asyncio.gather(*[worker() for _ in range(IN_FLIGHT)])


async def httpx_http2(target: Target, tally: Tally) -> None:
    """One client with http2=True."""
    import httpx

    async with httpx.AsyncClient(
        http2=True, verify=target.context(), timeout=60
    ) as client:

        async def one() -> tuple[int, bytes]:
            answer = await client.post(target.url, content=BODY, headers=HEADERS)
            return answer.status_code, answer.content

        await _hundred(tally, one)


async def aiohttp_http1(target: Target, tally: Tally) -> None:
    """HTTP/1.1 over 100 connections."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=target.context("http/1.1"))
    async with aiohttp.ClientSession(connector=connector) as client:

        async def one() -> tuple[int, bytes]:
            async with client.post(target.url, data=BODY, headers=HEADERS) as answer:
                return answer.status, await answer.read()

        await _hundred(tally, one)


async def pyreqwest(target: Target, tally: Tally) -> None:
    """Rust's reqwest, HTTP/2."""
    from pyreqwest.client import ClientBuilder

    pem = Path(target.ca_file).read_bytes()  # noqa: ASYNC240 - before the load
    builder = ClientBuilder().add_root_certificate_pem(pem).http2(True)
    async with builder.build() as client:

        async def one() -> tuple[int, bytes]:
            request = client.post(target.url).headers(HEADERS).body_bytes(BODY)
            answer = await request.build().send()
            return answer.status, bytes(await answer.bytes())

        await _hundred(tally, one)


CLIENTS: dict[str, Callable[[Target, Tally], Awaitable[None]]] = {
    "engine": engine,
    "pyreqwest": pyreqwest,
    "aiohttp": aiohttp_http1,
    "h2 loop": h2_loop,
    "httpx": httpx_http2,
}


async def measure(name: str, target: Target, seconds: float) -> dict[str, Any]:
    """Run a client; count between the end of the warm-up and `seconds` later."""
    tally = Tally()
    load = asyncio.ensure_future(CLIENTS[name](target, tally))
    await asyncio.wait([load], timeout=WARM_UP_S)
    marks = []
    for pause in (seconds, 0):
        marks.append((time.perf_counter(), time.process_time(), tally.done))
        if pause:
            await asyncio.wait([load], timeout=pause)
    tally.stop = True
    await asyncio.wait_for(load, 60)
    (wall, cpu, done), (wall_end, cpu_end, done_end) = marks
    requests = done_end - done
    return {
        "requests": requests,
        "per_second": requests / (wall_end - wall),
        "cpu_us": (cpu_end - cpu) / max(requests, 1) * 1e6,
        "wrong": dict(tally.wrong),
    }


def main() -> None:
    """One measurement, as JSON on the standard output."""
    import uvloop

    name, origin, ca_file, seconds = sys.argv[1:]
    target = Target(origin, ca_file)
    print(json.dumps(uvloop.run(measure(name, target, float(seconds)))))


if __name__ == "__main__":
    main()
