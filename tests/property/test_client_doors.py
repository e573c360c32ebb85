"""Hostile requests on every HTTP way in for clients: never a 500, nobody else hurt."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.http_streams import OCTETS, Doors, open_doors
from tests.support.realtime import build_context
from tests.support.sessions import make_token

from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.settings import SessionSettings

STREAMS = ["/connection/http_stream", "/connection/sse"]
ONE_WAY = ["/connection/uni_sse", "/connection/uni_http_stream"]
SOCKET = "/connection/uni_websocket"
GOOD = b'{"id":1,"connect":{}}'
HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"{" * 5_000,
    b'{"id":1,"connect":' + b"[" * 5_000,
    b'{"id":4294967296,"connect":{}}',
    b'{"id":-1,"connect":{}}',
    b'{"id":1,"connect":{"name":"\\ud800"}}',
    b'{"id":1,"connect":{"data":' + b"9" * 6_000 + b"}}",
    b'{"id":1,"connect":{"subs":{"a":{"offset":-1}}}}',
    b'{"connect":{}}\n{"connect":{}}\n' * 50,
    b"\n" * 1_000,
    b"\xff\xfe",
    b"\xff" * 12,
    b"\x02\x08\x01",
    b"x" * 70_000,
]


class Faults(logging.Handler):
    """Keeps every record of an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


@dataclass
class _Server:
    """The doors in a thread of their own, so that examples are plain calls."""

    doors: Doors | None = None
    faults: Faults = field(default_factory=Faults)

    def request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Status, and what comes at first: an answer may go on for ever."""
        connection = self.open(method, path, body, headers)
        try:
            answer = connection.getresponse()
            return answer.status, answer.read1(65_536)
        finally:
            connection.close()

    def open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPConnection:
        assert self.doors is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.doors.port, 30)
        connection.request(method, path, body, headers)
        return connection

    def is_sane(self) -> bool:
        """Whether nothing went wrong inside, and somebody else may come in."""
        status, first = self.request("POST", STREAMS[0], GOOD, {})
        return not self.faults.seen and status == 200 and b'"connect"' in first


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    """One node for all examples."""
    started, running = threading.Event(), _Server()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        context = build_context(SessionSettings(insecure=True))
        async with open_doors(context) as running.doors:
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    logging.getLogger().addHandler(running.faults)
    thread.start()
    assert started.wait(30)
    yield running
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()
    logging.getLogger().removeHandler(running.faults)


texts = st.sampled_from(
    ["", "a", "x:y", "$p", "ü", "\0", "a" * 300, make_token(sub="u")]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=5,
)
requests = st.dictionaries(
    st.sampled_from(["token", "data", "subs", "name", "version", "headers", "flag"]),
    values,
    max_size=4,
)
bodies = st.one_of(
    st.sampled_from(HOSTILE),
    st.binary(max_size=60),
    requests.map(lambda request: json.dumps({"id": 1, "connect": request}).encode()),
    requests.map(lambda request: json.dumps(request).encode()),
)
kinds = st.sampled_from([{}, OCTETS, {"Content-Type": "nonsense"}])


@settings(max_examples=150)
@given(
    path=st.sampled_from([*STREAMS, *ONE_WAY, "/emulation"]), body=bodies, kind=kinds
)
def test_any_body(
    server: _Server, path: str, body: bytes, kind: dict[str, str]
) -> None:
    """It opens a stream, which may end at once, or is refused by its status."""
    status, _ = server.request("POST", path, body, kind)
    assert status in {200, 204, 400, 404, 413}
    assert server.is_sane()


@settings(max_examples=100)
@given(
    path=st.sampled_from([*STREAMS, *ONE_WAY, SOCKET]),
    query=st.binary(max_size=40).map(quote)
    | requests.map(lambda request: quote(json.dumps(request)))
    | st.sampled_from([quote(each[:4_000]) for each in HOSTILE]),
    method=st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "DELETE"]),
)
def test_any_address(server: _Server, path: str, query: str, method: str) -> None:
    """The same for what stands in the address, whatever the verb."""
    status, _ = server.request(method, f"{path}?cf_connect={query}", None, {})
    assert status in {200, 204, 400, 404, 405}
    assert server.is_sane()


@settings(max_examples=100)
@given(
    data=bodies | st.sampled_from([b'{"id":2,"rpc":{}}', b'{"id":2,"ping":{}}']),
    is_binary=st.booleans(),
)
def test_any_commands_of_an_emulated_client(
    server: _Server, data: bytes, is_binary: bool
) -> None:
    """They end their own client at most, with a code that is published."""
    connection = server.open("POST", STREAMS[0], GOOD, {})
    try:
        stream = connection.getresponse()
        connect = json.loads(stream.readline())["connect"]
        if is_binary:
            up = pb.EmulationRequest(
                session=connect["session"], node=connect["node"], data=data
            )
            body, kind = up.SerializeToString(), OCTETS
        else:
            text = data.decode(errors="replace")
            told: dict[str, Any] = {**connect, "data": text}
            body, kind = json.dumps(told).encode(), {}
        status, _ = server.request("POST", "/emulation", body, kind)
        assert status in {204, 400, 413}
        assert server.is_sane()
    finally:
        connection.close()


def test_nobody_is_left_behind(server: _Server) -> None:
    """After all of this everybody who left is forgotten."""
    assert server.doors is not None
    hub = server.doors.context.hub
    deadline = time.monotonic() + 60
    while hub.num_clients and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hub.num_clients == 0
    assert hub.num_subs == 0
