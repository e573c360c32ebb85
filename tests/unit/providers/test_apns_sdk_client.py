"""Each test names what of aioapns' inside has changed, when a version changes it."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from aioapns import common, connection, exceptions
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

import tocsin
from tocsin.http2 import Origin
from tocsin.providers.apns_sdk_client import _Authorization, _Protocol, _request_of

ID = "eabeae54-14a8-11e5-b60b-1697f925ec7b"

# --- names -------------------------------------------------------------------

_METHODS: tuple[tuple[type, str, str], ...] = (
    (connection.AuthorizationHeaderProvider, "get_header", "self"),
    (connection.APNsBaseConnectionPool, "create_connection", "self"),
    (connection.APNsBaseConnectionPool, "discard_connection", "self connection"),
    (connection.APNsBaseConnectionPool, "acquire", "self"),
    (connection.APNsBaseConnectionPool, "close", "self"),
    (
        connection.APNsTLSClientProtocol,
        "__init__",
        "self apns_topic loop on_connection_lost auth_provider",
    ),
    (connection.APNsTLSClientProtocol, "send_notification", "self request"),
    (connection.APNsTLSClientProtocol, "data_received", "self data"),
    (connection.APNsTLSClientProtocol, "on_data_received", "self raw_data stream_id"),
    (connection.APNsTLSClientProtocol, "on_stream_ended", "self stream_id"),
    (connection.APNsTLSClientProtocol, "flush", "self"),
    (connection.APNsTLSClientProtocol, "close", "self"),
    (
        common.NotificationResult,
        "__init__",
        "self notification_id status description timestamp",
    ),
)


@pytest.mark.parametrize(("owner", "name", "wanted"), _METHODS)
def test_a_method_takes_what_we_give(owner: type, name: str, wanted: str) -> None:
    """There is one of that name with these parameters."""
    method = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__}.{name} is gone"
    assert " ".join(inspect.signature(method).parameters) == wanted, name


@pytest.mark.parametrize("name", ["max_connections", "max_connection_attempts"])
def test_a_pool_takes_its_bounds(name: str) -> None:
    """By the names that we give."""
    assert name in inspect.signature(connection.APNsBaseConnectionPool).parameters


async def test_a_pool_keeps_its_connections_where_we_look() -> None:
    """In a list, of which we take out those that were never in."""
    pool = connection.APNsBaseConnectionPool(max_connections=1)
    assert pool.connections == []


@pytest.mark.parametrize("name", ["APNS_SERVER", "INACTIVITY_TIME"])
def test_a_setting_of_the_class_is_where_we_set_it(name: str) -> None:
    """Nothing tells otherwise: the library would go on with its own."""
    assert hasattr(connection.APNsTLSClientProtocol, name), name


async def test_a_protocol_keeps_its_parts_where_we_look() -> None:
    """Their names, and what they are."""
    protocol = connection.APNsTLSClientProtocol("")
    for name in ("requests", "request_streams", "request_statuses"):
        assert getattr(protocol, name) == {}, name
    assert isinstance(protocol.conn, H2Connection)
    assert protocol.free_channels.bound == 1000
    assert callable(protocol.free_channels.release)


def test_its_faults_are_those_that_we_catch() -> None:
    """A pool's that cannot connect, and a connection's that is lost."""
    for fault in (exceptions.ConnectionError, exceptions.ConnectionClosed):
        assert issubclass(fault, Exception)


def test_nobody_else_knows_the_library() -> None:
    """Whatever changes in it concerns one module."""
    found = set()
    for path in Path(tocsin.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if "aioapns" not in text:
            continue  # reading them all as syntax takes seconds
        for node in ast.walk(ast.parse(text)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            if any(name.split(".")[0] == "aioapns" for name in names):
                found.add(path.stem)
    assert found == {"apns_sdk_client"}


# --- effects -----------------------------------------------------------------


class _Wire(asyncio.Transport):
    """Carries what the protocol writes to a server in memory."""

    def __init__(self, server: H2Connection) -> None:
        super().__init__()
        self._server = server
        self.events: list[Any] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.events += self._server.receive_data(data)

    def close(self) -> None:
        self.closed = True


class _Rig:
    """Our protocol, and Apple's side of its connection."""

    def __init__(self) -> None:
        self.server = H2Connection(H2Configuration(client_side=False))
        self.server.initiate_connection()
        self.lost: list[Any] = []
        authorization = _Authorization(lambda: "bearer t")
        self.protocol = _Protocol(
            Origin.parse("https://apns.test:2197"), self.lost.append, authorization
        )
        self.wire = _Wire(self.server)
        self.protocol.connection_made(self.wire)
        self.flush()

    def flush(self) -> None:
        self.protocol.data_received(self.server.data_to_send())

    async def send(self) -> tuple[asyncio.Task[Any], dict[bytes, bytes]]:
        """The call under way, and the request that reached the server."""
        headers = {
            "apns-id": ID,
            "apns-push-type": "alert",
            "apns-topic": "com.example",
            "apns-expiration": "1800000000",
            "apns-priority": "5",
            "apns-collapse-id": "c",
        }
        request = _request_of("ab" * 32, {"aps": {}}, headers)
        sending = asyncio.create_task(self.protocol.send_notification(request))
        await asyncio.sleep(0)
        (received,) = [e for e in self.wire.events if isinstance(e, RequestReceived)]
        return sending, dict(received.headers)

    def answer(self, status: str, body: bytes = b"") -> None:
        self.server.send_headers(1, [(":status", status)], end_stream=not body)
        if body:
            self.server.send_data(1, body, end_stream=True)
        self.flush()


@pytest.fixture
async def rig() -> Any:
    rig = _Rig()
    yield rig
    rig.protocol.close()
    assert rig.wire.closed


async def test_a_request_has_our_host_token_and_headers(rig: _Rig) -> None:
    """Whatever the library writes is taken from where we put it."""
    sending, headers = await rig.send()
    assert headers == {
        b":method": b"POST",
        b":scheme": b"https",
        b":path": b"/3/device/" + b"ab" * 32,
        b"host": b"apns.test:2197",
        b"apns-id": ID.encode(),
        b"apns-topic": b"com.example",
        b"apns-expiration": b"1800000000",
        b"apns-priority": b"5",
        b"apns-collapse-id": b"c",
        b"apns-push-type": b"alert",
        b"authorization": b"bearer t",
    }
    sending.cancel()


async def test_an_answer_is_found_without_its_id(rig: _Rig) -> None:
    """A gateway may leave it out, and call a success by another number."""
    sending, _ = await rig.send()
    rig.answer("204")
    result = await sending
    assert (result.notification_id, result.status) == (ID, "200")
    assert not rig.protocol.requests
    assert not rig.protocol.request_streams


@pytest.mark.parametrize(
    ("body", "reason", "timestamp"),
    [
        (b'{"reason":"Unregistered","timestamp":7}', "Unregistered", 7),
        (b"<html>", None, None),
        (b"", None, None),
        (b"[]", None, None),
    ],
)
async def test_a_refusal_is_read_or_told_by_its_status(
    rig: _Rig, body: bytes, reason: str | None, timestamp: int | None
) -> None:
    """The library itself would wait for ever where there is no reason."""
    sending, _ = await rig.send()
    rig.answer("410", body)
    result = await sending
    assert (result.status, result.description, result.timestamp) == (
        "410",
        reason,
        timestamp,
    )
    assert not rig.protocol.request_statuses


async def test_a_reset_request_ends(rig: _Rig) -> None:
    """With what the server said, and its place is free again."""
    free = rig.protocol.free_channels._value
    sending, _ = await rig.send()
    rig.server.reset_stream(1, error_code=7)
    rig.flush()
    with pytest.raises(Exception, match="error 7"):
        await sending
    assert rig.protocol.free_channels._value == free


async def test_a_forgotten_request_leaves_nothing(rig: _Rig) -> None:
    """Its stream is reset at the server, and its place is free again."""
    free = rig.protocol.free_channels._value
    sending, _ = await rig.send()
    rig.protocol.forget(ID)
    assert not rig.protocol.requests
    assert not rig.protocol.request_streams
    assert rig.protocol.free_channels._value == free
    assert [type(each).__name__ for each in rig.wire.events][-1] == "StreamReset"
    sending.cancel()


async def test_a_lost_connection_is_told_to_all(rig: _Rig) -> None:
    """To the pool, and to whoever waits for an answer."""
    sending, _ = await rig.send()
    rig.protocol.connection_lost(None)
    with pytest.raises(exceptions.ConnectionClosed):
        await sending
    assert rig.lost == [rig.protocol]
