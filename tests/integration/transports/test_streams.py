from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.support.http_streams import (
    JSON_COMMAND,
    OCTETS,
    StreamClient,
    open_doors,
    post_up,
    with_connect,
)
from tests.support.realtime import OPEN_CHANNEL, build_context
from tests.support.sessions import make_token, run_until

from tocsin.core.channel import PublishOptions
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import DisconnectCommand, Target
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import write_varint
from tocsin.sessions.settings import SessionSettings
from tocsin.transports.stream_endpoint import StreamSettings

INSECURE = SessionSettings(insecure=True)
STRICT = SessionSettings(stale_close_delay_s=0.2)
QUIET = replace(OPEN_CHANNEL, join_leave=False)
HTTP_STREAM = "/connection/http_stream"
SSE = "/connection/sse"
UNI_SSE = "/connection/uni_sse"
UNI_HTTP_STREAM = "/connection/uni_http_stream"
STREAMS = (HTTP_STREAM, SSE, UNI_SSE, UNI_HTTP_STREAM)
TWO_WAY = (HTTP_STREAM, SSE)

Next = Callable[[StreamClient], Awaitable[Any]]


def body_of(path: str, **request: Any) -> str:
    """What a client of that transport posts to connect."""
    return json.dumps(request if "uni" in path else {"id": 1, "connect": request})


def reader_of(path: str) -> Next:
    return StreamClient.event if "sse" in path else StreamClient.line


async def connect(port: int, path: str, **request: Any) -> tuple[StreamClient, Any]:
    """A connected client, and what it was told."""
    client = await StreamClient.request(port, path, body_of(path, **request))
    assert client.status == 200
    if "sse" in path:
        assert await client.read_until(b"\r\n") == b"\r\n"
    told = await reader_of(path)(client)
    return client, told["connect"]


# --- how the answer looks ---


@pytest.mark.parametrize(
    ("path", "body", "content_type", "preamble"),
    [
        (HTTP_STREAM, JSON_COMMAND, "text/plain; charset=utf-8", b'{"id":'),
        (SSE, JSON_COMMAND, "text/event-stream; charset=utf-8", b"\r\ndata:"),
        (UNI_SSE, "{}", "text/event-stream; charset=utf-8", b"\r\ndata:"),
        (UNI_HTTP_STREAM, "{}", "text/plain; charset=utf-8", b'{"connect":'),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_head(
    path: str, body: str, content_type: str, preamble: bytes, version: str
) -> None:
    """The headers are the published ones, and the answer begins as it should."""
    async with open_doors(build_context(INSECURE)) as doors:
        client = await StreamClient.request(doors.port, path, body, version=version)
        chunked = {"Transfer-Encoding": "chunked"} if version == "1.1" else {}
        assert client.status == 200
        assert client.headers == {
            "Content-Type": content_type,
            "X-Accel-Buffering": "no",
            "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0",
            "Pragma": "no-cache",
            "Expire": "0",
            "Connection": "close",
            **chunked,
        }
        assert await client.read_until(b":") == preamble
        await client.close()


@pytest.mark.parametrize("path", STREAMS)
async def test_verbs(path: str) -> None:
    """Only the published verbs connect; what else is asked is refused."""
    async with open_doors(build_context(INSECURE)) as doors:
        verbs = {"PUT", "DELETE", "PATCH", "HEAD"}
        if "sse" not in path:
            verbs.add("GET")
        for verb in verbs:
            client = await StreamClient.request(doors.port, path, method=verb)
            assert client.status == 405, verb
            await client.close()
        await run_until(lambda: doors.admission.num_open == 0)


async def test_sse_without_a_command() -> None:
    """A GET of the two-way SSE needs the connect command in its address."""
    async with open_doors(build_context(INSECURE)) as doors:
        client = await StreamClient.request(doors.port, SSE)
        assert client.status == 400
        await client.close()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (with_connect(SSE, id=1, connect={}), "node"),
        (with_connect(UNI_SSE, subs={"news": {}}), "subs"),
        (UNI_SSE, "session"),
    ],
)
async def test_sse_by_get(path: str, told: str) -> None:
    """What an EventSource can do: the connect is in the address."""
    async with open_doors(build_context(INSECURE, options=QUIET)) as doors:
        client = await StreamClient.request(doors.port, path)
        assert told in (await client.event())["connect"]
        await client.close()


@pytest.mark.parametrize("path", [*STREAMS, "/emulation"])
async def test_bodies_beyond_the_limit(path: str) -> None:
    """A body above max_request_body_size is refused, by length and by bytes."""
    settings = StreamSettings(max_request_body_size=100)
    async with open_doors(build_context(INSECURE), stream=settings) as doors:
        client = await StreamClient.request(doors.port, path, b" " * 101)
        assert client.status == 413
        await client.close()
        client = await StreamClient.dial(doors.port)
        client.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
            "\r\n\r\n65\r\n".encode()
            + b" " * 101
            + b"\r\n0\r\n\r\n"
        )
        await client.read_head()
        assert client.status == 413
        await client.close()


@pytest.mark.parametrize("path", [*STREAMS, "/emulation"])
async def test_a_body_that_does_not_come(path: str) -> None:
    """Nobody holds a connection open by sending half of a request."""
    settings = replace(INSECURE, stale_close_delay_s=0.1)
    async with open_doors(build_context(settings)) as doors:
        client = await StreamClient.dial(doors.port)
        client.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{"
            "".encode()
        )
        await client.read_head()
        assert client.status == 408
        await client.close()


@pytest.mark.parametrize("path", [*STREAMS, "/emulation"])
async def test_origins(path: str) -> None:
    """A page of an allowed origin may read the answer, any other is refused."""
    settings = replace(INSECURE, allowed_origins=("https://*.example.com",))
    async with open_doors(build_context(settings)) as doors:
        for origin, is_good in (
            ("https://App.example.com", True),
            ("https://evil.example", False),
        ):
            headers = {"Origin": origin, "Access-Control-Request-Headers": "x-a,x-b"}
            for method in ("POST", "OPTIONS", "TRACE"):
                client = await StreamClient.request(
                    doors.port, path, body_of(path), method=method, headers=headers
                )
                is_two_hundred = client.status in {200, 204, 404}
                assert is_two_hundred == (is_good and method != "TRACE")
                assert (client.status == 403) == (not is_good)
                got = client.headers
                assert got.get("Access-Control-Allow-Origin") == (
                    origin if is_good else None
                )
                if is_good:
                    assert got["Access-Control-Allow-Credentials"] == "true"
                    assert got["Access-Control-Allow-Headers"] == "x-a,x-b"
                await client.close()


@pytest.mark.parametrize("path", [*STREAMS, "/emulation"])
async def test_preflights(path: str) -> None:
    """OPTIONS is answered with what is allowed, and for how long that holds."""
    async with open_doors(build_context(INSECURE)) as doors:
        client = await StreamClient.request(doors.port, path, method="OPTIONS")
        assert client.status == 204
        assert client.headers["Access-Control-Max-Age"] == "300"
        verbs = "GET, POST, OPTIONS" if "sse" in path else "POST, OPTIONS"
        assert client.headers["Access-Control-Allow-Methods"] == verbs
        await client.close()


@pytest.mark.parametrize("path", STREAMS)
async def test_connection_limits(path: str) -> None:
    """Beyond the limit a client is sent away, and may come when one has gone."""
    settings = replace(INSECURE, connection_limit=1)
    async with open_doors(build_context(settings)) as doors:
        first, _ = await connect(doors.port, path)
        second = await StreamClient.request(doors.port, path, body_of(path))
        assert second.status == 503
        await second.close()
        await first.close()
        await run_until(lambda: doors.admission.num_open == 0)
        third, _ = await connect(doors.port, path)
        await third.close()


# --- both ways ---


@pytest.mark.parametrize("path", TWO_WAY)
async def test_a_walk(path: str) -> None:
    """Connect, subscribe the way up, receive, publish, unsubscribe."""
    context = build_context(INSECURE, options=QUIET)
    async with open_doors(context) as doors:
        client, told = await connect(doors.port, path)
        read = reader_of(path)
        assert told["node"] == "node-1"
        assert told["pong"] is True
        assert len(told["session"]) == 36
        up = partial(post_up, doors.port, told)
        assert await up({"id": 2, "subscribe": {"channel": "news"}}) == 204
        assert (await read(client))["id"] == 2
        await context.broker.publish("news", b'{"a":\r\n1}', PublishOptions())
        push = (await read(client))["push"]
        assert push == {"channel": "news", "pub": {"data": {"a": 1}}}
        commands = [
            {"id": 3, "publish": {"channel": "news", "data": 2}},
            {"id": 4, "unsubscribe": {"channel": "news"}},
        ]
        assert await up(*commands) == 204
        answers = [await read(client) for _ in range(3)]
        assert [each.get("id") for each in answers if "push" not in each] == [3, 4]
        assert [e["push"]["pub"]["data"] for e in answers if "push" in e] == [2]
        await client.close()
        await run_until(lambda: context.hub.num_clients == 0)


async def test_a_walk_in_protobuf() -> None:
    """HTTP streaming speaks length-prefixed Protobuf, and so does the way up."""
    context = build_context(INSECURE, options=QUIET)
    async with open_doors(context) as doors:
        first = pb.Command(id=1, connect=pb.ConnectRequest()).SerializeToString()
        client = await StreamClient.request(
            doors.port,
            HTTP_STREAM,
            write_varint(len(first)) + first,
            headers={"Content-Type": "Application/octet-stream; a=b"},
        )
        assert client.headers["Content-Type"] == "application/octet-stream"
        told = (await client.delimited())["connect"]
        frame = b""
        for number in (2, 3):
            command = pb.Command(
                id=number, subscribe=pb.SubscribeRequest(channel=f"news{number}")
            ).SerializeToString()
            frame += write_varint(len(command)) + command
        up = pb.EmulationRequest(node=told["node"], session=told["session"], data=frame)
        answer = await StreamClient.request(
            doors.port, "/emulation", up.SerializeToString(), headers=OCTETS
        )
        assert answer.status == 204
        await answer.close()
        assert [(await client.delimited())["id"] for _ in range(2)] == [2, 3]
        await context.broker.publish("news3", b"\x00\xff", PublishOptions())
        assert (await client.delimited())["push"]["pub"] == {"data": "AP8="}
        await client.close()


@pytest.mark.parametrize("path", STREAMS)
async def test_pings(path: str) -> None:
    """Two-way clients that leave a ping unanswered are ended; one-way need not."""
    settings = replace(INSECURE, ping_interval_s=0.3, pong_timeout_s=0.2)
    async with open_doors(build_context(settings)) as doors:
        client, told = await connect(doors.port, path)
        read = reader_of(path)
        assert told["ping"] == 1
        assert await read(client) == {}
        if path in TWO_WAY:
            assert await post_up(doors.port, told, {}) == 204
            assert await read(client) == {}
            ended = (await read(client))["push"]["disconnect"]
            assert ended == {"code": 3012, "reason": "no pong"}
            assert await read(client) is None
        else:
            assert "pong" not in told
            assert [await read(client) for _ in range(2)] == [{}, {}]
        await client.close()


# --- ends ---


@pytest.mark.parametrize("path", TWO_WAY)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", 3501),
        ("{", 3501),
        ("\xff", 3501),
        ('{"id":1,"subscribe":{"channel":"a"}}', 3501),
        ('{"id":1,"connect":{}}\n{"id":2,"connect":{}}', 3501),
        ('{"id":1,"connect":{"token":"a.b.c"}}', 3500),
        ('{"id":1,"connect":{}}\n{"send":{}}', 3508),
    ],
)
async def test_bad_commands(path: str, body: str, code: int) -> None:
    """A wrong first body ends the connection with a push and the proper end."""
    async with open_doors(build_context(INSECURE)) as doors:
        data = body.encode("latin-1")
        client = await StreamClient.request(doors.port, path, data)
        assert client.status == 200
        everything = await client.read_all()
        last = everything.strip().splitlines()[-1].removeprefix(b"data: ")
        assert json.loads(last)["push"]["disconnect"]["code"] == code
        assert await client.reader.read() == b""
        await client.close()
        assert doors.context.hub.num_clients == 0


@pytest.mark.parametrize("path", TWO_WAY)
async def test_bad_commands_on_the_way_up(path: str) -> None:
    """A wrong command by emulation ends the connection that it is for."""
    async with open_doors(build_context(INSECURE)) as doors:
        other, _ = await connect(doors.port, path)
        for text, code in (("{", 3501), ("", 3501), ('{"id":2,"ping":{}}', 3501)):
            client, told = await connect(doors.port, path)
            body = {"session": told["session"], "node": told["node"], "data": text}
            up = await StreamClient.request(doors.port, "/emulation", json.dumps(body))
            assert up.status == 204
            await up.close()
            push = (await reader_of(path)(client))["push"]
            assert push["disconnect"] == {"code": code, "reason": "bad request"}
            assert await reader_of(path)(client) is None
            await client.close()
        assert doors.context.hub.num_clients == 1
        await other.close()


@pytest.mark.parametrize("path", STREAMS)
async def test_disconnects_of_the_server(path: str) -> None:
    """A disconnect of the server API, and a shutdown, are pushed before the end."""
    context = build_context(INSECURE)
    async with open_doors(context) as doors:
        client, _ = await connect(doors.port, path)
        command = DisconnectCommand(Target(user=""), Disconnect(4321, "own"))
        context.hub.run(command)
        told = await reader_of(path)(client)
        assert told.get("push", told)["disconnect"] == {"code": 4321, "reason": "own"}
        assert await reader_of(path)(client) is None
        await client.close()
        client, _ = await connect(doors.port, path)
        await context.hub.close()
        told = await reader_of(path)(client)
        assert told.get("push", told)["disconnect"]["code"] == 3001
        assert await reader_of(path)(client) is None
        await client.close()


@pytest.mark.parametrize("path", TWO_WAY)
async def test_a_refused_connect(path: str) -> None:
    """After an error reply the stream is of no use, and ends when it is stale."""
    async with open_doors(build_context(STRICT)) as doors:
        token = make_token(sub="7", exp=1)
        read = reader_of(path)
        client = await StreamClient.request(
            doors.port, path, body_of(path, token=token)
        )
        assert (await read(client))["error"]["code"] == 109
        assert (await read(client))["push"]["disconnect"]["code"] == 3502
        assert await read(client) is None
        await client.close()
        more = body_of(path, token=token) + '\n{"id":2,"rpc":{}}'
        client = await StreamClient.request(doors.port, path, more)
        assert (await read(client))["error"]["code"] == 109
        assert (await read(client))["push"]["disconnect"]["code"] == 3501
        await client.close()


@pytest.mark.parametrize("path", STREAMS)
async def test_who_goes_leaves_nothing(path: str) -> None:
    """A reset connection is out of the hub, of its channels and of presence."""
    context = build_context(INSECURE)
    async with open_doors(context) as doors:
        client, told = await connect(doors.port, path, subs={"news": {}})
        assert "news" in told["subs"]
        assert len(await context.presence.fetch("news")) == 1
        client.writer.transport.abort()
        await run_until(lambda: context.hub.num_clients == 0)
        await context.hub.settle()
        assert context.hub.num_subs == 0
        assert context.hub.find_session(told["session"]) is None
        assert await context.presence.fetch("news") == {}
        await run_until(lambda: doors.admission.num_open == 0)


# --- who does not read ---


@pytest.mark.parametrize("path", STREAMS)
async def test_a_slow_client_is_cut_off_and_delays_nobody(path: str) -> None:
    """Too many bytes waiting end a client with 3008; the others get all at once."""
    settings = replace(INSECURE, queue_max_size=200_000)
    context = build_context(settings, options=QUIET)
    async with open_doors(context) as doors:
        slow = await StreamClient.request(
            doors.port, path, body_of(path, subs={"news": {}}), receive_buffer=4096
        )
        fast, _ = await connect(doors.port, path, subs={"news": {}})
        payload = b'"' + b"x" * 100_000 + b'"'
        rounds = 0
        while context.hub.num_clients == 2 and rounds < 500:
            rounds += 1
            await context.broker.publish("news", payload, PublishOptions())
            assert payload in await fast.read_until(b"\n", timeout_s=1)
            if "sse" in path:
                await fast.read_until(b"\n")
        assert context.hub.num_clients == 1
        last = (await slow.read_all()).strip().splitlines()[-1]
        told = json.loads(last.removeprefix(b"data: "))
        assert told.get("push", told)["disconnect"]["code"] in {3008, 3009}
        await asyncio.gather(slow.close(), fast.close())


async def test_a_stuck_client_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes nothing for the write timeout is ended, and the socket with it."""
    monkeypatch.setattr("tocsin.transports.http_link.WRITE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("tocsin.transports.socket_link.CLOSE_TIMEOUT_S", 0.1)
    settings = replace(INSECURE, queue_max_size=50_000_000)
    context = build_context(settings, options=QUIET)
    async with open_doors(context) as doors:
        stuck = await StreamClient.request(
            doors.port,
            UNI_HTTP_STREAM,
            body_of(UNI_HTTP_STREAM, subs={"news": {}}),
            receive_buffer=4096,
        )
        await run_until(lambda: context.hub.num_subs == 1)
        payload = b'"' + b"x" * 1_000_000 + b'"'
        for _ in range(20):
            await context.broker.publish("news", payload, PublishOptions())
        await run_until(lambda: context.hub.num_clients == 0)
        await run_until(lambda: doors.admission.num_open == 0)
        await stuck.close()
