from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.support.raw_websocket import RawWebSocket, handshake, masked
from tests.support.realtime import (
    OPEN_CHANNEL,
    RunningNode,
    build_context,
    running_node,
)
from tests.support.sessions import make_token, run_until

from tocsin.core.channel import ChannelOptions, PublishOptions
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import DisconnectCommand, Target
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import read_varint, write_varint
from tocsin.sessions import session, timing
from tocsin.sessions.settings import SessionSettings
from tocsin.transports import socket_link
from tocsin.transports.websocket import WebSocketSettings
from tocsin.transports.websocket_codec import (
    PING,
    PONG,
    TEXT,
)

INSECURE = SessionSettings(insecure=True)
QUIET = ChannelOptions(history_size=0)


# --- the handshake ---

HANDSHAKES: list[tuple[str, dict[str, str], str, int]] = [
    ("good", {}, "", 101),
    ("empty subprotocol", {"Sec-WebSocket-Protocol": ""}, "", 101),
    ("unknown subprotocol", {"Sec-WebSocket-Protocol": "chat, x"}, "", 101),
    ("upgrade in a list", {"Connection": "keep-alive, Upgrade"}, "", 101),
    ("no upgrade", {"Upgrade": "-", "Connection": "-"}, "", 400),
    ("another upgrade", {"Upgrade": "h2c"}, "", 400),
    ("version 8", {"Sec-WebSocket-Version": "8"}, "", 400),
    ("no key", {"Sec-WebSocket-Key": "-"}, "", 400),
    ("short key", {"Sec-WebSocket-Key": "QUJD"}, "", 400),
    ("no base64", {"Sec-WebSocket-Key": "%%%"}, "", 400),
    ("foreign origin", {"Origin": "https://evil.example"}, "", 403),
    ("own origin", {"Origin": "https://app.example"}, "", 101),
    ("post", {}, "POST", 405),
]


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [row[1:] for row in HANDSHAKES],
    ids=[row[0] for row in HANDSHAKES],
)
async def test_handshakes(headers: dict[str, str], method: str, status: int) -> None:
    """Only a good handshake of a known page becomes a WebSocket."""
    settings = SessionSettings(insecure=True, allowed_origins=("https://app.example",))
    async with running_node(build_context(settings)) as node:
        client = await RawWebSocket.dial(node.port)
        client.writer.write(handshake(headers=headers, method=method or "GET"))
        head = await client.read_head()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert "Sec-WebSocket-Protocol" not in head
        if status == 101:
            # the answer to the example of RFC 6455
            assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
            await client.connect()
        await client.close()


@pytest.mark.parametrize(
    ("offered", "query", "chosen", "is_binary"),
    [
        ((), "", None, False),
        (("centrifuge-json",), "", "centrifuge-json", False),
        (("centrifuge-protobuf",), "", "centrifuge-protobuf", True),
        (("x", "centrifuge-protobuf"), "", "centrifuge-protobuf", True),
        ((), "?format=protobuf", None, True),
        ((), "?cf_protocol=protobuf", None, True),
        ((), "?format=json", None, False),
    ],
)
async def test_encodings(
    offered: tuple[str, ...], query: str, chosen: str | None, is_binary: bool
) -> None:
    """Subprotocol or query choose between JSON and Protobuf."""
    async with (
        running_node(build_context()) as node,
        aiohttp.ClientSession() as http,
        http.ws_connect(node.url + query, protocols=offered) as socket,
    ):
        assert socket.protocol == chosen
        if is_binary:
            await socket.send_bytes(_delimited(_CONNECT))
            (reply,) = _replies(await socket.receive_bytes())
            assert reply.connect.client
        else:
            await socket.send_str('{"id":1,"connect":{}}')
            assert (await socket.receive_json())["connect"]["client"]


_CONNECT = pb.Command(id=1, connect=pb.ConnectRequest())


def _delimited(*commands: pb.Command) -> bytes:
    parts = [command.SerializeToString() for command in commands]
    return b"".join(write_varint(len(part)) + part for part in parts)


def _replies(data: bytes) -> list[pb.Reply]:
    replies, at = [], 0
    while at < len(data):
        size, at = read_varint(data, at)
        replies.append(pb.Reply.FromString(data[at : at + size]))
        at += size
    return replies


async def test_what_comes_right_behind_the_handshake() -> None:
    """A client that does not wait for the answer loses nothing."""
    async with running_node(build_context()) as node:
        client = await RawWebSocket.dial(node.port)
        command = masked(TEXT, b'{"id":1,"connect":{}}')
        client.writer.write(handshake() + command[:9])
        await client.read_head()
        client.writer.write(command[9:])
        opcode, payload = await client.read_frame()
        assert opcode == TEXT
        assert b"connect" in payload
        await client.close()


async def test_connection_limits() -> None:
    """Beyond the limit the answer is 503, until somebody leaves."""
    settings = SessionSettings(insecure=True, connection_limit=1)
    async with running_node(build_context(settings)) as node:
        first = await RawWebSocket.open(node.port)
        second = await RawWebSocket.dial(node.port)
        second.writer.write(handshake())
        assert "503" in await second.read_head()
        await first.close()
        await run_until(lambda: node.context.hub.num_clients == 0)
        for _ in range(100):
            third = await RawWebSocket.dial(node.port)
            third.writer.write(handshake())
            if "101" in await third.read_head():
                break
            await third.close()
        else:
            pytest.fail("nobody is let in any more")
        for client in (second, third):
            await client.close()


# --- pings and the end ---


async def test_native_pings() -> None:
    """A client may ask for WebSocket pings instead of those of the protocol."""
    settings = SessionSettings(insecure=True, ping_interval_s=0.2, pong_timeout_s=0.1)
    async with running_node(build_context(settings)) as node:
        query = "?cf_ws_frame_ping_pong=true"
        client = await RawWebSocket.open(node.port, query=query)
        await client.send('{"id":1,"connect":{}}')
        result = json.loads((await client.read_frame())[1])["connect"]
        assert "ping" not in result
        for _ in range(3):
            assert await client.read_frame() == (PING, b"")
            client.writer.write(masked(PONG, b""))
        assert await client.read_frame() == (PING, b"")
        assert await client.read_close() == (3012, "no pong")
        await client.close()


async def test_a_client_that_does_not_answer_the_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The socket of a client that ignores a close is ended all the same."""
    monkeypatch.setattr(socket_link, "CLOSE_TIMEOUT_S", 0.1)
    async with running_node(build_context()) as node:
        client = await RawWebSocket.open(node.port)
        await client.connect()
        node.context.hub.run(
            DisconnectCommand(Target(), Disconnect(4000, "custom reason"))
        )
        assert await client.read_close() == (4000, "custom reason")
        assert node.context.hub.num_clients == 0
        async with asyncio.timeout(7):
            assert await client.reader.read() == b""
        await client.close()


async def test_a_refused_connect_ends_without_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an error reply to connect the server ends the socket, without a code."""
    monkeypatch.setattr(timing, "_REFUSED_END_S", 0.1)
    settings = SessionSettings()
    async with running_node(build_context(settings)) as node:
        client = await RawWebSocket.open(node.port)
        token = make_token(sub="u", exp=1)
        await client.send(json.dumps({"id": 1, "connect": {"token": token}}))
        assert json.loads((await client.read_frame())[1])["error"]["code"] == 109
        await client.send('{"id":2,"rpc":{}}')
        async with asyncio.timeout(7):
            assert await client.reader.read() == b""
        await client.close()


# --- many, slow and dead ones ---


async def _publish(node: RunningNode, data: bytes) -> None:
    await node.context.broker.publish("news", data, PublishOptions())


async def test_every_subscriber_gets_everything_in_order() -> None:
    """Publications of several publishers reach all, none lost, order kept."""
    context = build_context(options=OPEN_CHANNEL)
    async with running_node(context) as node:
        clients = [await RawWebSocket.open(node.port) for _ in range(20)]
        for client in clients:
            await client.connect("news")

        async def publish(name: int) -> None:
            for number in range(25):
                await _publish(node, b"[%d,%d]" % (name, number))
                if number % 5 == 0:
                    await asyncio.sleep(0)

        await asyncio.gather(*(publish(name) for name in range(4)))
        for client in clients:
            seen: list[list[int]] = []
            while len(seen) < 100:
                _, payload = await client.read_frame()
                push = json.loads(payload)["push"]
                if "pub" in push:
                    seen.append(push["pub"]["data"])
            for name in range(4):
                assert [n for who, n in seen if who == name] == list(range(25))
            await client.close()


async def _slow_and_fast(node: RunningNode) -> tuple[RawWebSocket, RawWebSocket]:
    slow = await RawWebSocket.open(node.port, receive_buffer=4096)
    fast = await RawWebSocket.open(node.port)
    await slow.connect("news")
    await fast.connect("news")
    return slow, fast


async def test_a_slow_client_is_cut_off_and_delays_nobody() -> None:
    """Too many bytes waiting for one client end it with 3008; others get all."""
    settings = SessionSettings(insecure=True, queue_max_size=300_000)
    context = build_context(settings, options=QUIET)
    async with running_node(context, WebSocketSettings(write_timeout_s=60)) as node:
        slow, fast = await _slow_and_fast(node)
        payload = b'"' + b"x" * 20_000 + b'"'
        rounds = 0
        while context.hub.num_clients == 2 and rounds < 2000:
            rounds += 1
            await _publish(node, payload)
            async with asyncio.timeout(1):
                assert payload in (await fast.read_frame())[1]
        assert context.hub.num_clients == 1
        assert context.hub.num_subs == 1
        await _publish(node, b"1")
        assert b'"data":1' in (await fast.read_frame())[1]
        assert await slow.read_close() == (3008, "slow")
        for client in (slow, fast):
            await client.close()


async def test_a_stuck_client_is_given_up_after_the_write_timeout() -> None:
    """A socket that takes nothing for the write timeout is ended with 3009."""
    context = build_context(INSECURE, options=QUIET)
    settings = WebSocketSettings(write_timeout_s=0.2)
    async with running_node(context, settings) as node:
        stuck, fast = await _slow_and_fast(node)
        payload = b'"' + b"x" * 200_000 + b'"'
        for _ in range(200):
            await _publish(node, payload)
            await fast.read_frame()
            if context.hub.num_clients == 1:
                break
        await run_until(lambda: context.hub.num_clients == 1)
        assert await stuck.read_close() in {(3009, "write error"), (3008, "slow")}
        for client in (stuck, fast):
            await client.close()


async def test_a_client_that_reads_slowly_but_reads_stays() -> None:
    """Bytes that a socket does not take at once are written when it does."""
    settings = SessionSettings(insecure=True, queue_max_size=50_000_000)
    context = build_context(settings, options=QUIET)
    async with running_node(context, WebSocketSettings(write_timeout_s=60)) as node:
        slow, fast = await _slow_and_fast(node)
        payload = b'"' + b"x" * 50_000 + b'"'
        for _ in range(100):
            await _publish(node, payload)
            await asyncio.sleep(0)
        for client in (slow, fast):
            for _ in range(100):
                assert payload in (await client.read_frame())[1]
            await client.close()


async def test_dead_clients_are_forgotten() -> None:
    """A reset connection leaves nothing behind, and nobody waits for it."""
    context = build_context()
    async with running_node(context) as node:
        clients = [await RawWebSocket.open(node.port) for _ in range(5)]
        for client in clients:
            await client.connect()
            await client.send('{"id":2,"subscribe":{"channel":"news"}}')
            await client.read_frame()
        for client in clients[1:]:
            client.abort()
        await _publish(node, b"1")
        while b'"data":1' not in (await clients[0].read_frame())[1]:
            pass
        await run_until(lambda: context.hub.num_clients == 1)
        await context.hub.settle()
        assert context.hub.num_subs == 1
        assert len(await context.presence.fetch("news")) == 1
        await clients[0].close()


async def test_shutdown_tells_everybody() -> None:
    """At shutdown clients are told to go elsewhere, and presence is cleaned."""
    context = build_context()
    async with running_node(context) as node:
        client = await RawWebSocket.open(node.port)
        await client.connect("news")
        closing = asyncio.create_task(context.hub.close())
        assert await client.read_close() == (3001, "shutdown")
        await closing
        assert await context.presence.fetch("news") == {}
        await client.close()


async def test_a_flood_of_commands_is_held_back() -> None:
    """Commands wait in the socket while a client's earlier ones are carried out."""
    context = build_context()
    async with running_node(context) as node:
        client = await RawWebSocket.open(node.port)
        await client.connect()

        async def flood() -> None:
            for number in range(3000):
                await client.send(json.dumps({"id": number + 10, "rpc": {}}))

        sending = asyncio.create_task(flood())
        seen: list[Any] = []
        while len(seen) < 3000:
            _, payload = await client.read_frame()
            seen += [json.loads(line)["id"] for line in payload.splitlines()]
        await sending
        assert seen == list(range(10, 3010))
        await client.close()


async def test_a_flood_in_one_piece_is_read_message_by_message() -> None:
    """What is read ahead is not decoded ahead; a bad command ends it in its place."""
    held = asyncio.Event()

    async def slow(user: str, data: bytes) -> bytes:
        await held.wait()
        return b""

    context = build_context(rpc={"slow": slow})
    async with running_node(context) as node:
        client = await RawWebSocket.open(node.port)
        await client.connect()
        numbers = iter(range(10, 10_000))
        messages = [
            "\n".join(
                json.dumps({"id": next(numbers), "rpc": {"method": "slow"}})
                for _ in range(200)
            )
            for _ in range(10)
        ]
        flood = b"".join(masked(TEXT, each.encode()) for each in messages)
        client.writer.write(flood + masked(TEXT, b"nonsense"))
        (member,) = context.hub.connected()
        assert isinstance(member, session.Session)
        await run_until(lambda: member._is_reading_paused)
        assert member._inbox is not None
        waiting = len(member._inbox)
        held.set()
        seen: list[Any] = []
        while len(seen) < 2000:
            _, payload = await client.read_frame()
            seen += [json.loads(line)["id"] for line in payload.splitlines()]
        assert seen == list(range(10, 2010))
        assert await client.read_close() == (3501, "bad request")
        assert waiting < 400
        await client.close()
