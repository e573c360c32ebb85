"""Cheap callers for the server API: they must not cost more than what they measure.

Callers in a closed loop over raw connections, gRPC in clear text by the HTTP/2 engine
and HTTP/1.1 by a few lines of `asyncio.Protocol`. Every answer is handed to a check;
one that is not as expected ends the run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import structlog

from tocsin.http2 import Failure, Http2Pool, RequestHead, Response
from tocsin.http2.hpack import encode_field

CALLERS = 50
CONNECTIONS = 4
SERVICE = "/centrifugal.centrifugo.api.CentrifugoApi/"
# What HTTP/2 says about fields that gRPC servers want to see.
_GRPC_FIELDS = ((b"te", b"trailers"), (b"content-type", b"application/grpc"))

Check = Callable[[bytes], None]
"""Takes the message or body of one answer; raises for what was not expected."""


def grpc_head(port: int, method: str, key: str) -> RequestHead:
    """The head of a gRPC call of the API."""
    origin = f"http://127.0.0.1:{port}"
    head = RequestHead.build(
        "POST", origin, SERVICE + method, {"authorization": f"apikey {key}"}
    )
    more = b"".join(encode_field(name, value) for name, value in _GRPC_FIELDS)
    return RequestHead(
        head.method, head._before, head._path, head._after + more, head._size + 128
    )


async def call_grpc(
    port: int,
    head: RequestHead,
    message: bytes,
    check: Check,
    seconds: float,
    *,
    connections: int = CONNECTIONS,
) -> float:
    """Calls per second of `CALLERS` callers over so many connections."""
    body = b"\0" + len(message).to_bytes(4) + message
    _quieten()
    pool = Http2Pool(
        f"http://127.0.0.1:{port}",
        ssl_context=None,
        max_connections=connections,
        max_streams=-(-CALLERS // connections),
    )
    done = asyncio.get_running_loop().create_future()
    count, in_flight, end = 0, 0, 0.0

    def finish(result: Response | Failure) -> None:
        nonlocal count, in_flight
        in_flight -= 1
        try:
            check(_message(result))
        except Exception as error:  # noqa: BLE001 - it ends the run, wherever it came from
            if not done.done():
                done.set_exception(error)
            return
        count += 1
        if time.perf_counter() < end:
            in_flight += 1
            pool.submit(head, body, finish)
        elif not in_flight and not done.done():
            done.set_result(None)

    started = time.perf_counter()
    end = started + seconds
    try:
        while in_flight < CALLERS:
            await pool.wait_room()
            while pool.room() and in_flight < CALLERS:
                in_flight += 1
                pool.submit(head, body, finish)
        async with asyncio.timeout(seconds + 30):
            await done
        return count / (time.perf_counter() - started)
    finally:
        await pool.aclose()


def _quieten() -> None:
    """The pool's connections are no news here."""
    level = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=level)


def _message(result: Response | Failure) -> bytes:
    if isinstance(result, Failure):
        raise RuntimeError(f"a call failed: {result.detail}")  # noqa: TRY004 - a value
    body = result.body
    if result.status != 200 or len(body) < 5:
        raise RuntimeError(f"no message came: {result.status}, {result.headers}")
    if body[0] or len(body) != 5 + int.from_bytes(body[1:5]):
        raise RuntimeError("the answer is not one whole message")
    return body[5:]


class _HttpCaller(asyncio.Protocol):
    """One connection with one request under way at a time."""

    def __init__(self, request: bytes, check: Check, end: float) -> None:
        self._request = request
        self._check = check
        self._end = end
        self._held = b""
        self._transport: Any = None
        self.count = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._held + data if self._held else data
        head, blank, body = data.partition(b"\r\n\r\n")
        if not blank or len(body) < _content_length(head):
            self._held = data
            return
        self._held = b""
        try:
            _check_head(head)
            self._check(body)
        except Exception as error:  # noqa: BLE001 - as above
            self.done.set_exception(error)
            self._transport.abort()
            return
        self.count += 1
        if time.perf_counter() < self._end:
            self._transport.write(self._request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"a connection was lost: {exc}"))


def _check_head(head: bytes) -> None:
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"refused: {head[:500]!r}")


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


async def call_http(
    port: int, path: str, key: str, body: bytes, check: Check, seconds: float
) -> float:
    """Requests per second of `CALLERS` connections."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"X-API-Key: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    callers = []
    for _ in range(CALLERS):
        _, caller = await loop.create_connection(
            lambda: _HttpCaller(head.encode() + body, check, started + seconds),
            "127.0.0.1",
            port,
        )
        callers.append(caller)
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(caller.done for caller in callers))
    return sum(caller.count for caller in callers) / (time.perf_counter() - started)
