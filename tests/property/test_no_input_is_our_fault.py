"""Random and extreme requests on every RPC and door of whole servers: never code 100.

One server stands on SQLite and the memory engine, one on PostgreSQL and Redis: what
a store refuses must have been refused, by field, before the store was asked.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.messages import PLAUSIBLE, SCALARS, fields
from tests.support.postgres import PostgresServer
from tests.support.simulated_fcm import simulator_in_thread
from tests.support.tokens import SECRET, sign
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as ws_connect

from tocsin.api.methods.table import ADMIN_SERVICE, SERVICE
from tocsin.app.lifecycle import Stopper
from tocsin.app.server import start_server
from tocsin.config import load_config
from tocsin.core.api_methods import snake_case
from tocsin.core.device import PLATFORMS
from tocsin.core.ids import new_id
from tocsin.core.push_services import SERVICES
from tocsin.protocol import client_pb2
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

_RPCS: dict[str, Any] = {
    rpc.name: rpc for rpc in (*SERVICE.methods, *ADMIN_SERVICE.methods)
}
_SINGLE = tuple(sorted({rpc.name for rpc in SERVICE.methods} - {"Batch"}))
_OPERATOR = tuple(
    sorted(rpc.name for rpc in ADMIN_SERVICE.methods if not rpc.server_streaming)
)
_KEY = (("authorization", "apikey k"),)
_MANY = 70_000
"""More than any store takes as parameters of one statement."""

_EDGES = [
    *(
        sign * 2**bits + add
        for bits in (31, 53, 62)
        for sign in (1, -1)
        for add in (-1, 0, 1)
    ),
    *(sign * 10**digits for digits in (9, 12, 13, 15, 16, 18) for sign in (1, -1)),
    0,
    1,
    -1,
]
_UNSIGNED = [edge for edge in _EDGES if edge >= 0]


def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = [edge for edge in (*_EDGES, low, high) if low <= edge <= high]
    return st.sampled_from(sorted(set(edges))) | st.integers(low, high)


_TEXTS = st.one_of(
    st.sampled_from(["", *SERVICES, *PLATFORMS, "add", "remove", "set", "u", "d"]),
    st.sampled_from(["kept:1", "seen:1", "map:1", "no:1", "x", "eq", "and", "in"]),
    st.sampled_from(
        ["[", "{", "\\", "*" * 50, "[z-a]", "(?P<", "%", "_", "'", '"', ";"]
    ),
    st.sampled_from(
        ["\0", "a\0b", "\ufffe", "\u202e", "𝄞", "é", "x" * 300, "x" * 9000]
    ),
    st.sampled_from(
        ["UTC", "en", "1e400", "NaN", "-0", "{}", "[]", "null", "AA==", "="]
    ),
    st.just(new_id("fcm")),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
_BYTES = st.one_of(
    st.sampled_from(
        [b"{}", b'{"a":1}', b"[]", b"", b"\xff", b"{" * 3000, b"\0", b"null"]
    ),
    st.sampled_from([b'{"title":"{{ user }}"}', b'{"a":1e999}', b'{"a":"\\ud800"}']),
    st.binary(max_size=12),
)
_SCALARS: Mapping[int, st.SearchStrategy[Any]] = {
    **SCALARS,
    FieldDescriptor.TYPE_STRING: _TEXTS,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_INT32: _integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: _integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: _integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: _integers(0, 2**64 - 1),
}
_PLAUSIBLE: Mapping[str, dict[str, Any]] = {
    **PLAUSIBLE,
    "SendPushNotification": {
        "recipient": {"filter": {"topics": ["news"]}},
        "notification": {"fcm": {"message": b"{}"}},
    },
    "UpdatePushStatus": {"analytics_uid": "a", "status": "delivered"},
    "Broadcast": {"channels": ["kept:1", "x"], "data": b"{}"},
}


@st.composite
def _requests(
    draw: st.DrawFn, names: tuple[str, ...] = _SINGLE
) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(names))
    drawn = draw(fields(_RPCS[name].input_type, _SCALARS))
    if draw(st.integers(0, 3)):
        drawn = {**_PLAUSIBLE.get(name, {}), **drawn}
    if 0.01 < drawn.get("wait_s", 0) <= 30:
        drawn["wait_s"] = 0.01  # else the examples would take their time
    return name, drawn


class _Server:
    """A whole server in a thread of its own, so that examples are plain calls."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self._config, self._folder = config, folder
        self._started, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._fault: BaseException | None = None
        self.channel: Any = None
        self.http_port = 0
        self._http: http.client.HTTPConnection | None = None

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(60)
        if self._fault is not None:
            raise self._fault
        # Questions about what is there take other ways than those about nothing.
        for name in ("DeviceRegister", "UserTopicUpdate", "Publish", "Publish"):
            values = {"topics": ["news"]} if name == "UserTopicUpdate" else {}
            request = GetMessageClass(_RPCS[name].input_type)
            answer = self.call(name, request(**_PLAUSIBLE[name], **values))
            assert answer.HasField("result"), answer

    def stop(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self._http is not None:
            self._http.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self._loop.close()

    def call(self, name: str, request: Any) -> Any:
        """The response; raises `grpc.RpcError`."""
        service = _RPCS[name].containing_service.full_name
        call = self.channel.unary_unary(f"/{service}/{name}")
        answer: bytes = call(request.SerializeToString(), metadata=_KEY, timeout=60)
        return GetMessageClass(_RPCS[name].output_type).FromString(answer)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the HTTP door's answer."""
        assert self._http is not None
        headers = {"X-API-Key": "k", "Content-Type": "application/json"}
        self._http.request("POST", path, body, headers)
        answer = self._http.getresponse()
        return answer.status, answer.read()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - told where it is waited for
            self._fault = error
            self._started.set()

    async def _serve(self) -> None:
        path = self._folder / "c.json"
        path.write_text(json.dumps(self._config))
        config = load_config(str(path), environ={}).config
        async with AsyncExitStack() as stack:
            listening = await start_server(config, stack, Stopper())
            self.channel = grpc.insecure_channel(
                f"127.0.0.1:{listening.grpc_port}",
                [
                    ("grpc.max_send_message_length", -1),
                    ("grpc.max_receive_message_length", -1),
                ],
            )
            self.http_port = listening.http_port
            self._http = http.client.HTTPConnection(
                "127.0.0.1", listening.http_port, timeout=60
            )
            self._started.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Takes what the embedded worker sends."""
    with (
        tempfile.TemporaryDirectory() as directory,
        simulator_in_thread(Path(directory)) as running,
    ):
        yield running


@pytest.fixture(scope="module", params=["sqlite and memory", "postgresql and redis"])
def server(request: pytest.FixtureRequest, simulator: Simulator) -> Iterator[_Server]:
    """One server of each kind for all examples, with everything switched on."""
    with tempfile.TemporaryDirectory() as directory:
        config = _configuration(simulator)
        postgres: PostgresServer | None = None
        if request.param == "sqlite and memory":
            config["database"] = {"sqlite": {"path": f"{directory}/t.db"}}
        else:
            postgres = request.getfixturevalue("postgres_server")
            redis = request.getfixturevalue("redis_server")
            redis.flush()
            dsn = postgres.create_database("no_input_is_our_fault")
            config["database"] = {"postgresql": {"dsn": dsn}}
            address = {"redis": {"address": redis.address}}
            config["engine"] = {"type": "redis", **address}
            config["push_notifications"]["queue"] = {"type": "redis", **address}
        running = _Server(config, Path(directory))
        try:
            running.start()
            yield running
        finally:
            running.stop()
    if postgres is not None:
        postgres.drop_database("no_input_is_our_fault")


def _configuration(simulator: Simulator) -> dict[str, Any]:
    may = {
        f"allow_{what}_for_client": True
        for what in ("subscribe", "publish", "presence", "history")
    }
    kept = {**may, "history_size": 10, "history_ttl": "60s", "delta_publish": True}
    return {
        "http_server": {"address": "127.0.0.1", "port": 0},
        "http_api": {"key": "k"},
        "client": {
            "token": {"hmac_secret_key": SECRET},
            "allowed_origins": ["*"],
        },
        "grpc_api": {"address": "127.0.0.1", "port": 0, "key": "k"},
        "admin": {"key": "k"},
        "shutdown": {"timeout": "2s"},
        **{
            section: {"enabled": True}
            for section in (
                "user_status",
                "user_block",
                "token_revoke",
                "user_tokens_invalidate",
            )
        },
        "channel": {
            "namespaces": [
                {"name": "kept", "allowed_delta_types": ["fossil"], **kept},
                {"name": "seen", "presence": True, "join_leave": True, **may},
                {"name": "json", "publication_data_format": "json_object", **may},
            ]
        },
        "push_notifications": {
            "enabled_providers": ["fcm"],
            "fcm": {
                "credentials_file": str(simulator.of(Fcm).account_file),
                "endpoint": simulator.origin,
                "ca_file": str(simulator.ca_file),
            },
            "results": {"detail": "recipient"},
        },
    }


def _check_answer(server: _Server, name: str, values: Mapping[str, Any]) -> None:
    request = GetMessageClass(_RPCS[name].input_type)(**values)
    response = server.call(name, request)
    if response.HasField("error"):
        error = response.error
        assert error.code != 100, (name, str(request)[:500], error)
        assert error.code in {102, 104, 107, 108, 112, 113}, (name, error)
    # Of a broadcast each channel has its own.
    for each in getattr(response.result, "responses", ()):
        assert not each.HasField("error") or each.error.code != 100, str(request)[:500]


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(_requests())
@example(("Channels", {"pattern": "["}))
@example(("BlockUser", {"user": "u", "expire_at": 10**18}))
@example(("BlockUser", {"user": "u", "expire_at": 2**63 - 1}))
@example(("RevokeToken", {"uid": "t", "expire_at": 10**18}))
@example(("InvalidateUserTokens", {"user": "u", "expire_at": 10**18}))
@example(("InvalidateUserTokens", {"user": "u", "issued_before": 2**63 - 1}))
@example(
    (
        "History",
        {"channel": "kept:1", "limit": 1, "reverse": True, "since": {"offset": 0}},
    )
)
@example(("History", {"channel": "kept:1", "limit": 1, "since": {"offset": 2**64 - 1}}))
@example(
    (
        "History",
        {
            "channel": "kept:1",
            "limit": 1,
            "reverse": True,
            "since": {"offset": 2**64 - 1},
        },
    )
)
@example(("Subscribe", {"user": "u", "channel": "kept:1", "expire_at": 1}))
@example(("Subscribe", {"user": "u", "channel": "kept:1", "expire_at": 2**63 - 1}))
@example(("Publish", {"channel": "x\0y", "data": b"{}", "version": 2**64 - 1}))
def test_no_request_is_answered_with_100(
    server: _Server, drawn: tuple[str, dict[str, Any]]
) -> None:
    """Whatever a caller writes is its own fault, and told by field."""
    name, values = drawn
    _check_answer(server, name, values)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(_requests(_OPERATOR))
@example(("ListDeadLetters", {"cursor": "9" * 5000}))
@example(("ListDeadLetters", {"cursor": "99999999999999999999-0"}))
@example(("GetDeadLetter", {"id": "٣-٣", "with_body": True}))
@example(("GetDeadLetter", {"id": "18446744073709551616-1"}))
@example(("PurgeDeadLetters", {"ids": ["\0"]}))
@example(("ReplayDeadLetters", {"all": True, "cursor": "1-1\n"}))
@example(("GetSend", {"uid": "a\0b"}))
@example(("GetSend", {"push_id": "p" * 5000}))
@example(("ListSends", {"states": ["open"], "limit": 2**31 - 1}))
@example(("ListSends", {"uid": "a\0b", "cursor": "a\0b"}))
@example(("ListSends", {"since_ms": 2**63 - 1, "until_ms": 2**63 - 1}))
@example(("AuditSends", {"since_ms": -(2**63), "cursor": "9" * 5000}))
@example(("ListAuditLog", {"actors": ["a\0b"]}))
@example(("ListResults", {"position": 2**63 - 1}))
@example(("ListResults", {"filter": {"uids": ["a\0b"]}}))
@example(("ListResults", {"wait_s": float("nan")}))
@example(("ListAuditLog", {"cursor": "9" * 5000}))
@example(("ListAuditLog", {"since_ms": -(2**63), "until_ms": 2**63 - 1}))
def test_no_request_of_an_operator_is_answered_with_100(
    server: _Server, drawn: tuple[str, dict[str, Any]]
) -> None:
    """Nor is it with anybody's fault but the operator's."""
    name, values = drawn
    _check_answer(server, name, values)


_ODD_JSON = st.one_of(
    st.sampled_from([None, True, {}, [], "", "1", "x", "\ud800", "\0", [[]], [None]]),
    st.sampled_from([1e400, -0.0, 0.5, 1e18, 10**19, -(10**30), 10**400, float("nan")]),
    st.sampled_from([{"": None}, {"a": "\udfff"}, ["x"] * 300, {"a": {"a": {"a": 1}}}]),
)
_JSON_SCALARS = {
    **_SCALARS,
    FieldDescriptor.TYPE_STRING: _TEXTS | st.just("\ud800"),
    FieldDescriptor.TYPE_BYTES: _ODD_JSON,
}


@st.composite
def _objects(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """What a caller writes as JSON; at times a field has a value of another type."""
    name = draw(st.sampled_from(_SINGLE))
    kind = _RPCS[name].input_type
    drawn = draw(fields(kind, _JSON_SCALARS))
    if draw(st.booleans()):
        names = [field.name for field in kind.fields]
        spoiled = draw(st.lists(st.sampled_from(names), max_size=2)) if names else []
        drawn |= {each: draw(_ODD_JSON) for each in spoiled}
    if draw(st.integers(0, 3)):
        plausible = _PLAUSIBLE.get(name, {})
        drawn = {**_readable(plausible), **drawn}
    return snake_case(name), drawn


def _readable(value: Any) -> Any:
    """Embedded JSON stands in JSON as what it is."""
    if isinstance(value, bytes):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: _readable(each) for key, each in value.items()}
    return value


def _answers(answer: Any) -> Iterator[Any]:
    """The errors in an answer, those of its parts too."""
    if isinstance(answer, dict):
        if isinstance(answer.get("error"), dict):
            yield answer["error"]
        for each in answer.values():
            yield from _answers(each)
    elif isinstance(answer, list):
        for each in answer:
            yield from _answers(each)


def _check_post(server: _Server, path: str, value: Any) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    status, text = server.post(path, body)
    assert status in {200, 400, 413}, (path, body[:500], status, text[:300])
    if status == 200:
        for line in text.splitlines():
            for error in _answers(json.loads(line)):
                assert error["code"] != 100, (path, body[:500], error)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(_objects(), min_size=1, max_size=3), st.booleans())
def test_no_body_is_answered_with_100(
    server: _Server, drawn: list[tuple[str, dict[str, Any]]], parallel: bool
) -> None:
    """Over HTTP: by path, in the older form and in a batch."""
    for name, values in drawn:
        _check_post(server, f"/api/{name}", values)
        _check_post(server, "/api", {"method": name, "params": values})
    commands = [{name: values} for name, values in drawn]
    _check_post(server, "/api/batch", {"commands": commands, "parallel": parallel})


_COMMANDS = {
    field.name: field.message_type
    for field in client_pb2.Command.DESCRIPTOR.fields
    if field.message_type is not None and field.name != "connect"
}
_CLIENT_CHANNELS = st.sampled_from(
    ["kept:1", "seen:1", "json:1", "x", "#u", "$p:1", "no:1", "a\0b", "x" * 300, ""]
)
_CLIENT_PLAUSIBLE: Mapping[str, dict[str, Any]] = {
    "subscribe": {"channel": "kept:1", "recover": True, "epoch": "e", "offset": 1},
    "publish": {"channel": "kept:1", "data": {}},
    "history": {"channel": "kept:1", "limit": 2},
    "presence": {"channel": "seen:1"},
    "presence_stats": {"channel": "seen:1"},
    "unsubscribe": {"channel": "kept:1"},
    "rpc": {"method": "m", "data": {}},
    "sub_refresh": {"channel": "kept:1", "token": "t"},
}
_CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "exp": _ODD_JSON | _integers(-(2**63), 2**64),
        "expire_at": _ODD_JSON | _integers(-(2**63), 2**64),
        "iat": _ODD_JSON | _integers(-(2**63), 2**64),
        "sub": st.sampled_from(["u", "", "x" * 300, "a\0b", 1, None]),
        "info": _ODD_JSON,
        "meta": _ODD_JSON,
        "jti": _ODD_JSON,
        "channel": _CLIENT_CHANNELS,
        "channels": st.lists(_CLIENT_CHANNELS, max_size=3) | _ODD_JSON,
        "subs": st.dictionaries(_CLIENT_CHANNELS, _ODD_JSON, max_size=2) | _ODD_JSON,
        "caps": _ODD_JSON,
        "override": _ODD_JSON,
    },
)


def _token(claims: dict[str, Any]) -> str:
    return sign(json.dumps(claims))


@st.composite
def _client_commands(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(_COMMANDS)))
    kind = _COMMANDS[name]
    drawn = draw(fields(kind, _JSON_SCALARS))
    if draw(st.integers(0, 3)):
        drawn = {**_CLIENT_PLAUSIBLE.get(name, {}), **drawn}
    names = {field.name for field in kind.fields}
    if "channel" in names and draw(st.booleans()):
        drawn["channel"] = draw(_CLIENT_CHANNELS)
    if "token" in names and draw(st.booleans()):
        drawn["token"] = draw(_CLAIMS.map(_token))
    return {name: drawn}


def _talk(
    server: _Server, connect: dict[str, Any], commands: list[dict[str, Any]]
) -> None:
    """One client's life; no reply and no end of it may be the server's fault."""
    last = {"connect": connect}
    with ws_connect(f"ws://127.0.0.1:{server.http_port}/connection/websocket") as ws:
        try:
            for number, command in enumerate([last, *commands], 1):
                last = command
                ws.send(json.dumps({"id": number, **command}))
                if "send" in command:  # which has no reply
                    continue
                reply = _wait_for_reply(ws, number, command)
                if "connect" in command and "error" in reply:
                    return  # nothing more is answered
        except ConnectionClosed as closed:
            end = closed.rcvd
        else:
            return
    # A close code that is none in WebSocket ends without one.
    assert end is None or end.code not in {1011, 3004}, (last, end)


def _wait_for_reply(ws: Any, number: int, command: Mapping[str, Any]) -> Any:
    while True:
        for reply in map(json.loads, ws.recv(timeout=60).splitlines()):
            for error in _answers(reply):
                assert error["code"] != 100, (command, error)
            if reply.get("id") == number:
                return reply


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.one_of(
        st.just({"token": _token({"sub": "u"})}),
        st.builds(lambda claims: {"token": _token({"sub": "u", **claims})}, _CLAIMS),
        fields(client_pb2.ConnectRequest.DESCRIPTOR, _JSON_SCALARS),
    ),
    st.lists(_client_commands(), min_size=1, max_size=4),
)
def test_no_client_is_told_of_an_internal_error(
    server: _Server, connect: dict[str, Any], commands: list[dict[str, Any]]
) -> None:
    """Whatever a client, or who signs its tokens, writes."""
    _talk(server, connect, commands)


_ABOUT_CLIENTS = ("Subscribe", "Unsubscribe", "Disconnect", "Refresh")


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    _requests(_ABOUT_CLIENTS).map(
        lambda drawn: (drawn[0], {**drawn[1], "user": "here"})
    )
)
@example(("Disconnect", {"user": "here", "disconnect": {"code": 2**32 - 1}}))
@example(
    ("Disconnect", {"user": "here", "disconnect": {"code": 3000, "reason": "é" * 99}})
)
@example(("Unsubscribe", {"user": "here", "channel": "seen:1"}))
@example(("Refresh", {"user": "here", "expire_at": 2**63 - 1}))
@example(("Refresh", {"user": "here", "expired": True}))
@example(("Subscribe", {"user": "here", "channel": "kept:1", "expire_at": 2**63 - 1}))
def test_no_call_about_a_connected_client_is_our_fault(
    server: _Server, drawn: tuple[str, dict[str, Any]]
) -> None:
    """Neither is the call answered with 100, nor does the client end by a fault."""
    name, values = drawn
    with ws_connect(f"ws://127.0.0.1:{server.http_port}/connection/websocket") as ws:
        connect = {"token": _token({"sub": "here"})}
        commands = [{"connect": connect}, {"subscribe": {"channel": "seen:1"}}]
        for number, command in enumerate(commands, 1):
            ws.send(json.dumps({"id": number, **command}))
            _wait_for_reply(ws, number, command)
        _check_answer(server, name, values)
        try:
            ws.send(json.dumps({"id": 9, "presence_stats": {"channel": "seen:1"}}))
            _wait_for_reply(ws, 9, values)
        except ConnectionClosed as closed:
            end = closed.rcvd
        else:
            return
    assert end is None or end.code not in {1011, 3004}, (values, end)


_LONG_LIST = [f"{new_id('fcm')}{number}" for number in range(_MANY)]


def _takes_many(field: Any) -> bool:
    """Whether a field is a list of texts, or maps texts to texts."""
    kind = field.message_type
    if kind is None:
        return bool(field.is_repeated and field.type == FieldDescriptor.TYPE_STRING)
    return bool(
        kind.GetOptions().map_entry
        and kind.fields_by_name["value"].message_type is None
    )


def _many(field: Any) -> Any:
    """A value that is longer than any statement."""
    if field.message_type is None:
        return _LONG_LIST
    return dict.fromkeys(_LONG_LIST, "v")


_LONG_LISTS = [
    (rpc.name, field.name)
    for rpc in SERVICE.methods
    for field in rpc.input_type.fields
    if rpc.name != "Batch" and _takes_many(field)
]
_LONG_FILTERS = [
    (rpc.name, field.name)
    for rpc in _RPCS.values()
    if "filter" in rpc.input_type.fields_by_name and not rpc.server_streaming
    for field in rpc.input_type.fields_by_name["filter"].message_type.fields
    if _takes_many(field)
]
_RECIPIENT = _RPCS["SendPushNotification"].input_type.fields_by_name["recipient"]
_RECIPIENTS = [
    field.name for field in _RECIPIENT.message_type.fields if _takes_many(field)
]
_RECIPIENT_FILTERS = [
    field.name
    for field in _RECIPIENT.message_type.fields_by_name["filter"].message_type.fields
    if _takes_many(field)
]


@pytest.mark.parametrize(("name", "field"), _LONG_LISTS)
def test_no_long_list_is_answered_with_100(
    server: _Server, name: str, field: str
) -> None:
    """A list of more entries than a statement has parameters."""
    values = _many(_RPCS[name].input_type.fields_by_name[field])
    _check_answer(server, name, {**_PLAUSIBLE.get(name, {}), field: values})


@pytest.mark.parametrize(("name", "field"), _LONG_FILTERS)
def test_no_long_filter_is_answered_with_100(
    server: _Server, name: str, field: str
) -> None:
    """The same inside a filter."""
    kind = _RPCS[name].input_type.fields_by_name["filter"].message_type
    _check_answer(server, name, {"filter": {field: _many(kind.fields_by_name[field])}})


@pytest.mark.parametrize("field", _RECIPIENTS)
def test_no_long_recipient_is_answered_with_100(server: _Server, field: str) -> None:
    """The same in what a send is for."""
    many = _many(_RECIPIENT.message_type.fields_by_name[field])
    _check_send(server, {field: many})


@pytest.mark.parametrize("field", _RECIPIENT_FILTERS)
def test_no_long_recipient_filter_is_answered_with_100(
    server: _Server, field: str
) -> None:
    """The same in its filter."""
    kind = _RECIPIENT.message_type.fields_by_name["filter"].message_type
    _check_send(server, {"filter": {field: _many(kind.fields_by_name[field])}})


def _check_send(server: _Server, recipient: Mapping[str, Any]) -> None:
    body = {"notification": {"fcm": {"message": b"{}"}}, "send_at": 2**33}
    _check_answer(server, "SendPushNotification", {"recipient": recipient, **body})
