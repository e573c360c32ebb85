"""Each test names what of aiohttp's inside has changed, when a version changes it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web_runner import BaseRunner

from tocsin.http_edge import inside
from tocsin.http_edge.inside import (
    Connection,
    ListeningConnector,
    Runner,
    ShortJson,
    Switched,
    hand_over,
    is_no_http,
    status_said,
)

_SOURCE = Path(inside.__file__)
_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

# --- names -------------------------------------------------------------------

_VALUES: tuple[tuple[type, str], ...] = (
    (BaseProtocol, "_loop"),
    (BaseProtocol, "_reading_paused"),
    (BaseProtocol, "_buffer_paused"),
    (BaseProtocol, "_upgraded"),
    (web.RequestHandler, "_payload_parser"),
    (web.RequestHandler, "_request_count"),
    (web.RequestHandler, "_current_request"),
    (web.RequestHandler, "_messages"),
    (BaseProtocol, "transport"),
)
_PROPERTIES: tuple[tuple[type, str], ...] = (
    (BaseProtocol, "writing_paused"),
    (BaseRunner, "server"),
    (web.StreamResponse, "keep_alive"),
    (web.StreamResponse, "prepared"),
)
_METHODS: tuple[tuple[type, str, str], ...] = (
    (BaseProtocol, "_pause_transport_reading", "self"),
    (BaseProtocol, "_resume_transport_reading", "self"),
    (BaseProtocol, "pause_writing", "self"),
    (BaseProtocol, "resume_writing", "self"),
    (web.RequestHandler, "connection_made", "self transport"),
    (web.RequestHandler, "connection_lost", "self exc"),
    (web.RequestHandler, "data_received", "self data"),
    (web.RequestHandler, "set_parser", "self parser data_received_cb"),
    (web.RequestHandler, "keep_alive", "self val"),
    (web.RequestHandler, "force_close", "self"),
    (web.RequestHandler, "finish_response", "self request resp start_time"),
    (web.RequestHandler, "handle_error", "self request status exc message"),
    (web.RequestHandler, "log_exception", "self args kw"),
    (web.StreamResponse, "prepare", "self request"),
    (web.StreamResponse, "write_eof", "self data"),
    (ResponseHandler, "data_received", "self data"),
    (ResponseHandler, "set_exception", "self exc exc_cause"),
)


@pytest.mark.parametrize(("owner", "name"), _VALUES)
def test_a_value_is_kept_where_we_look(owner: type, name: str) -> None:
    """There is a slot of that name in aiohttp's class."""
    assert inspect.ismemberdescriptor(getattr(owner, name, None)), name


@pytest.mark.parametrize(("owner", "name"), _PROPERTIES)
def test_a_property_is_one(owner: type, name: str) -> None:
    """It is there in aiohttp's class, as a property."""
    assert isinstance(getattr(owner, name, None), property), name


@pytest.mark.parametrize(("owner", "name", "parameters"), _METHODS)
def test_a_method_takes_what_we_give(owner: type, name: str, parameters: str) -> None:
    """The method is there, with these parameters in this order."""
    method = getattr(owner, name, None)
    assert inspect.isfunction(method), name
    assert " ".join(inspect.signature(method).parameters) == parameters


def test_what_is_waited_for_is_a_coroutine() -> None:
    """The steps that we stand in for are awaited by aiohttp."""
    for method in (
        web.RequestHandler.finish_response,
        web.StreamResponse.prepare,
        web.StreamResponse.write_eof,
    ):
        assert inspect.iscoroutinefunction(method), method.__qualname__


def test_a_connection_is_made_with_our_options() -> None:
    """Each option that a runner gives is known to aiohttp's constructor."""
    known = inspect.signature(web.RequestHandler.__init__).parameters
    options = Runner(
        web.Application(), Connection, keepalive_s=1, linger_s=1, shutdown_timeout_s=1
    )._options
    assert {"manager", "loop", *options} <= set(known)


def test_every_private_name_is_in_these_tables() -> None:
    """A name that the module takes from aiohttp stands above, so that it is tested."""
    tree = ast.parse(_SOURCE.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    }
    ours = {"_make", "_options", "_short_body"}
    tried = {"_factory", "_keep_alive"}  # by their effect, below
    assert used - ours - tried <= {
        name for _, name, *_ in (*_VALUES, *_PROPERTIES, *_METHODS)
    }


_INSIDE = re.compile(
    r"from aiohttp\.(?!abc import AbstractResolver, ResolveResult\n|web import)"
    r"|import aiohttp\."
    r"|\((?:web|aiohttp)\.(?:RequestHandler|\w*Response|\w*Runner|\w*Connector"
    r"|\w*Site|\w*Server)\):"
    r"|request\._|\.protocol\._|\.writer\._|\.content\._|response\._|session\._"
)


def test_no_other_module_reaches_inside() -> None:
    """What is not documented of aiohttp is used in one module alone."""
    source = _SOURCE.parents[1]
    reaching = {
        str(path.relative_to(source)): found[0]
        for path in source.rglob("*.py")
        if path != _SOURCE
        and "aiohttp" in (text := path.read_text(encoding="utf-8"))
        and (found := _INSIDE.search(text))
    }
    assert reaching == {}


# --- effects -----------------------------------------------------------------


class _Wire(asyncio.Transport):
    """A socket without a net: what is written is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_read = True
        self.owner: asyncio.BaseProtocol | None = None
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.owner = protocol

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class _Told(Connection):
    """Remembers what it was told, and how it looked then."""

    __slots__ = ("fault", "told")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.told: list[object] = []
        self.fault: BaseException | None = None

    def on_room(self) -> None:
        self.told.append("room")
        super().on_room()

    def on_new_owner(self) -> None:
        self.told.append("new owner")

    def on_answer(self, response: web.StreamResponse) -> None:
        self.told.append("answer")

    def on_answered(self) -> None:
        self.told.append("answered")

    async def before_next(self) -> None:
        self.told.append("next")
        assert self.has_next

    def answer_fault(
        self, request: web.BaseRequest, error: BaseException | None
    ) -> web.StreamResponse | None:
        self.fault = error
        return None

    def log_fault(self, kind: str, text: str, error: object) -> None:
        self.told.append((kind, text, type(error).__name__))


Handler = Callable[[Any], Any]


async def _answer(_request: web.BaseRequest) -> web.StreamResponse:
    return ShortJson(b"{}")


async def _open(handler: Handler = _answer) -> tuple[_Told, _Wire]:
    app = web.Application()
    app.router.add_route("*", "/", handler)
    runner = Runner(app, _Told, keepalive_s=5, linger_s=1, shutdown_timeout_s=1)
    await runner.setup()
    connection, wire = runner.server(), _Wire()
    connection.connection_made(wire)
    return connection, wire


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_runner_makes_our_connections() -> None:
    """A site is given what makes connections of our own kind, on the running loop."""
    connection, _ = await _open()
    assert type(connection) is _Told
    assert connection.loop is asyncio.get_running_loop()
    connection.connection_lost(None)


async def test_requests_are_counted_and_told() -> None:
    """Both of two requests are seen, and each of their steps in this order."""
    states = []

    async def handle(request: web.Request) -> web.StreamResponse:
        states.append((connection.is_answering, connection.has_next))
        return await _answer(request)

    connection, wire = await _open(handle)
    assert (connection.heads_read, connection.is_answering) == (0, False)
    connection.data_received(_GET + _GET)
    assert connection.heads_read == 2
    await _turns()
    assert states == [(True, True), (True, False)]
    assert connection.told == ["answer", "answered", "next", "answer", "answered"]
    assert not connection.is_answering
    assert wire.written.count(b"HTTP/1.1 200 OK\r\n") == 2
    connection.connection_lost(None)


async def test_a_short_answer_keeps_the_connection() -> None:
    """It is one piece, and the next request is answered on the same connection."""
    connection, wire = await _open()
    for _ in range(2):
        wire.written = b""
        connection.data_received(_GET)
        await _turns()
        assert re.fullmatch(
            rb"HTTP/1\.1 200 OK\r\nContent-Type: application/json\r\n"
            rb"Content-Length: 2\r\nDate: [^\r]+ GMT\r\n\r\n\{\}",
            wire.written,
        )
    assert not wire.is_closed
    connection.connection_lost(None)


async def test_who_does_not_read_is_waited_for() -> None:
    """A short answer is drained: the next request is not begun before."""
    connection, wire = await _open()
    connection.data_received(_GET + _GET)
    connection.pause_writing()
    assert connection.writing_paused
    await _turns()
    assert wire.written.count(b"200 OK") == 1
    connection.resume_writing()
    await _turns()
    assert wire.written.count(b"200 OK") == 2
    connection.connection_lost(None)


async def test_a_body_beyond_the_room_is_held() -> None:
    """What a handler does not read stops the reading, and is told when it has room."""
    go = asyncio.Event()
    sizes = []

    async def read(request: web.Request) -> web.StreamResponse:
        await go.wait()
        sizes.append(len(await request.read()))
        return await _answer(request)

    connection, wire = await _open(read)
    size = 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    connection.data_received(head + b"x" * (size - 1))
    await _turns()
    assert connection.is_held
    assert not wire.is_read
    go.set()
    await _turns()
    assert connection.told == ["room"]
    assert wire.is_read
    assert not connection.is_held
    connection.data_received(b"x")
    await _turns()
    assert sizes == [size]
    connection.connection_lost(None)


async def test_a_socket_is_left_and_read_again() -> None:
    """Both are a word to the transport and nothing else."""
    connection, wire = await _open()
    connection.leave_socket()
    assert not wire.is_read
    connection.read_socket()
    assert wire.is_read
    assert not connection.is_held
    connection.connection_lost(None)


class _NewOwner(asyncio.Protocol):
    pass


async def test_a_socket_changes_hands() -> None:
    """The new owner gets what came behind the head, and aiohttp writes nothing."""
    owner, early, ended = _NewOwner(), [], asyncio.Event()

    async def switch(request: web.Request) -> web.StreamResponse:
        early.append(hand_over(request, owner))
        await ended.wait()
        return Switched()

    connection, wire = await _open(switch)
    assert connection.reads_requests
    head = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.data_received(head + b"\r\n\x81early")
    assert not connection.reads_requests
    await _turns()
    assert early == [b"\x81early"]
    assert wire.owner is owner
    assert connection.told == ["new owner"]
    connection.connection_lost(None)
    ended.set()
    await _turns()
    assert wire.written == b""


async def test_a_plain_request_changes_hands() -> None:
    """Without an upgrade, too: what comes later is not parsed as a request."""

    async def switch(request: web.Request) -> web.StreamResponse:
        assert hand_over(request, _NewOwner()) == b""
        return Switched()

    connection, wire = await _open(switch)
    connection.data_received(_GET)
    await _turns()
    assert not connection.reads_requests
    assert wire.written == b""
    assert wire.is_closed  # `keep_alive(False)`: the request was its last
    connection.connection_lost(None)


async def test_a_closed_socket_changes_no_hands() -> None:
    """Who is gone is a lost connection."""
    seen: list[object] = []

    async def switch(request: web.Request) -> web.StreamResponse:
        wire.close()
        with pytest.raises(ConnectionResetError) as caught:
            hand_over(request, _NewOwner())
        seen.append(caught.value)
        raise caught.value

    connection, wire = await _open(switch)
    connection.data_received(_GET)
    await _turns()
    assert len(seen) == 1
    connection.connection_lost(None)


async def test_what_is_no_http_is_told() -> None:
    """A fault of the caller is asked about, and is known as one."""
    connection, _ = await _open()
    connection.data_received(b"\x16\x03\x01 no request\r\n\r\n")
    await _turns()
    assert is_no_http(connection.fault)
    assert not is_no_http(ConnectionResetError())
    connection.connection_lost(None)


async def test_a_fault_of_ours_is_told() -> None:
    """What aiohttp would log comes with its kind, its text and its error."""

    async def forget(_request: web.Request) -> None:
        return None

    connection, _ = await _open(forget)
    connection.data_received(_GET)
    await _turns()
    kinds = [entry for entry in connection.told if isinstance(entry, tuple)]
    assert kinds == [
        ("Missing return statement on request handler",) * 2 + ("NoneType",)
    ]
    connection.connection_lost(None)


def test_the_date_is_one() -> None:
    """The date that aiohttp keeps is the one of HTTP."""
    assert re.fullmatch(
        r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", rfc822_formatted_time()
    )


async def test_a_connector_makes_our_listeners() -> None:
    """The status of an answer is known although its chunks are broken."""
    connector = ListeningConnector(limit=0)
    protocol = connector._factory()
    assert isinstance(protocol, ResponseHandler)
    protocol.connection_made(_Wire())
    protocol.set_response_params(read_until_eof=True)
    protocol.data_received(
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    )
    error = protocol.exception()
    assert isinstance(error, aiohttp.ClientError | aiohttp.http.HttpProcessingError)
    assert status_said(error) == 201
    assert status_said(ConnectionResetError()) == 0
    protocol.set_response_params(read_until_eof=True)
    assert protocol.said == 0  # type: ignore[attr-defined]
    protocol.connection_lost(None)
    await connector.close()
