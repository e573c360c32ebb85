"""Two nodes on one Redis, as processes: what one is told happens on the other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.realtime_processes import Node, connected, serve
from tests.support.tocsin_processes import Processes
from tests.support.tokens import SECRET, sign

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

SEEN = {
    "name": "seen",
    "presence": True,
    "join_leave": True,
    "history_size": 10,
    "history_ttl": "300s",
}
DOORS = ["http", "grpc"]


class Pair:
    """Both nodes; calls go to `other`, clients are on `here`."""

    def __init__(
        self, processes: Processes, folder: Path, address: str, **more: Any
    ) -> None:
        self._processes, self._folder = processes, folder
        self._sections: dict[str, Any] = {
            "channel": {"namespaces": [SEEN]},
            "http_stream": {"enabled": True},
            "client": {
                "token": {"hmac_secret_key": SECRET},
                "subscription_token": {"enabled": True, "hmac_secret_key": SECRET},
            },
            **more,
        }
        engine: dict[str, Any] = {"type": "redis", "redis": {"address": address}}
        engine["redis"] |= more.get("engine", {})
        self._sections["engine"] = engine
        self.here, self.other = self.start("here"), self.start("other")

    def start(self, name: str) -> Node:
        return serve(self._processes, self._folder, name, **self._sections)

    def restart(self) -> None:
        """End both in order, and start them again."""
        door = self.other.door
        for node in (self.here, self.other):
            assert node.process.terminate() == 0
        self.here, self.other = self.start("here"), self.start("other")
        self.other.door = door

    async def joined(self) -> None:
        """Wait until each knows the other."""
        for node in (self.here, self.other):
            await until(partial(node.result, "info"), num_nodes(2))


async def until(ask: Callable[[], Awaitable[Any]], fits: Callable[[Any], bool]) -> Any:
    """Ask until the answer fits, and return it."""
    async with asyncio.timeout(60):
        while not fits(answer := await ask()):  # noqa: ASYNC110 - another process knows
            await asyncio.sleep(0.05)
        return answer


def num_nodes(number: int) -> Callable[[Any], bool]:
    return lambda info: len(info["nodes"]) == number


@pytest.fixture(params=DOORS)
async def pair(
    request: pytest.FixtureRequest,
    processes: Processes,
    tmp_path: Path,
    redis_address: str,
) -> Pair:
    pair = await asyncio.to_thread(Pair, processes, tmp_path, redis_address)
    pair.other.door = request.param
    await pair.joined()
    return pair


async def test_a_client_of_the_other_node(pair: Pair) -> None:
    """Subscribed, published to, listed, refreshed, unsubscribed and disconnected."""
    other = pair.other
    async with connected(pair.here, sign({"sub": "u"})) as client:
        id = await client.id()
        await other.result(
            "subscribe",
            user="u",
            channel="seen:1",
            info={"i": 1},
            data={"d": 1},
            override={"force_recovery": {"value": True}},
        )
        push = await client.push()
        assert push["channel"] == "seen:1"
        assert push["subscribe"]["data"] == {"d": 1}
        assert push["subscribe"]["recoverable"]

        for node in (other, pair.here):
            await node.result("publish", channel="seen:1", data=1, tags={"a": "b"})
            pub = (await client.push())["pub"]
            assert (pub["data"], pub["tags"]) == (1, {"a": "b"})
        answer = await other.result("broadcast", channels=["seen:1", "seen:2"], data=2)
        assert answer["responses"][0]["result"]["offset"] == 3
        assert (await client.push())["pub"]["offset"] == 3

        found = await other.result("presence", channel="seen:1")
        info = {"client": id, "user": "u", "chan_info": {"i": 1}}
        assert found == {"presence": {id: info}}
        stats = await other.result("presence_stats", channel="seen:1")
        assert stats == {"num_clients": 1, "num_users": 1}
        found = await other.result("channels")
        assert found == {"channels": {"seen:1": {"num_clients": 1}}}
        found = await other.result("connections", user="u")
        assert list(found["connections"]) == [id]
        assert list(found["connections"][id]["state"]["channels"]) == ["seen:1"]
        info = await until(lambda: other.result("info"), _counts(1))
        assert {each["num_subs"] for each in info["nodes"]} == {0, 1}

        await other.result("refresh", user="u", expire_at=4_102_444_800)
        assert (await client.push())["refresh"]["expires"]
        await other.result("refresh", user="u")
        assert (await client.push())["refresh"] == {}
        await other.result("unsubscribe", user="u", channel="seen:1")
        ended = {"code": 2000, "reason": "server unsubscribe"}
        assert await client.push() == {"channel": "seen:1", "unsubscribe": ended}
        await until(
            lambda: other.result("channels"), lambda found: not found["channels"]
        )
        assert await other.result("presence", channel="seen:1") == {"presence": {}}

        why = {"code": 4321, "reason": "why"}
        await other.result("disconnect", user="u", whitelist=[id], disconnect=why)
        await other.result("disconnect", user="u", client="x", disconnect=why)
        await other.result("disconnect", user="u", session="x", disconnect=why)
        await other.result("refresh", user="u")  # still there
        assert (await client.push())["refresh"] == {}
        await other.result("disconnect", user="u", client=id, disconnect=why)
        assert await client.next() == 4321


def _counts(clients: int) -> Callable[[Any], bool]:
    return lambda info: sum(each["num_clients"] for each in info["nodes"]) == clients


async def test_labels_and_everybody(pair: Pair) -> None:
    """A filter reaches who has the labels, `all_users` whoever it is, on both nodes."""
    here, other = pair.here, pair.other
    pro = {"key": "plan", "cmp": "eq", "val": "pro"}
    async with (
        connected(here, sign({"sub": "u", "labels": {"plan": "pro"}})) as first,
        connected(here, sign({"sub": "v", "labels": {"plan": "free"}})) as second,
        connected(other, sign({"sub": "u", "labels": {"plan": "pro"}})) as third,
    ):
        ids = [await each.id() for each in (first, second, third)]
        found = await other.result("connections", label_filter=pro)
        assert set(found["connections"]) == {ids[0], ids[2]}
        everybody: dict[str, Any] = {"all_users": True}
        await other.result("subscribe", channel="seen:1", label_filter=pro, **everybody)
        for client in (first, third):
            assert (await client.push())["channel"] == "seen:1"
        await other.result("refresh", **everybody)
        for client in (first, second, third):
            assert await _next_own(client) == {"refresh": {}}
        await other.result("unsubscribe", channel="seen:1", user="u", label_filter=pro)
        for client in (first, third):
            assert "unsubscribe" in await _next_own(client)
        not_pro = {"op": "not", "nodes": [pro]}
        await other.result("disconnect", label_filter=not_pro, **everybody)
        assert await second.next() == 3503
        await other.result("disconnect")  # nobody without a user is here
        await other.result("disconnect", **everybody)
        for client in (first, third):
            assert await client.next() == 3503


async def _next_own(client: Any) -> Any:
    """The next push that tells of nobody else."""
    while True:
        push = await client.push()
        if not {"join", "leave"} & set(push):
            return push


async def test_commands_may_come_in_at_the_other_node(pair: Pair) -> None:
    """A client whose stream is here posts its commands to wherever it is sent."""
    async with aiohttp.ClientSession() as session:
        command = {"id": 1, "connect": {"token": sign({"sub": "u"})}}
        stream = await session.post(
            f"http://127.0.0.1:{pair.here.port}/connection/http_stream", json=command
        )
        connect = (await _next_line(stream))["connect"]
        url = f"http://127.0.0.1:{pair.other.port}/emulation"
        up = {"session": connect["session"], "node": connect["node"]}
        token = sign({"sub": "u", "channel": "seen:1"})
        for number in (2, 3):
            request = {"channel": "seen:1", "token": token}
            data = json.dumps({"id": number, "subscribe": request})
            async with session.post(url, json={**up, "data": data}) as answer:
                assert answer.status == 204
        reply = await _next_line(stream)
        assert (reply["id"], "subscribe" in reply) == (2, True)
        reply = await _next_line(stream)
        assert (reply["id"], reply["error"]["code"]) == (3, 105)
        found = await pair.other.result("connections", user="u")
        (told,) = found["connections"].values()
        assert told["transport"] == "http_stream"
        await pair.other.result("disconnect", user="u", session=up["session"])
        push = (await _next_line(stream))["push"]
        assert push["disconnect"]["code"] == 3503
        stream.close()


async def _next_line(stream: aiohttp.ClientResponse) -> Any:
    """The next message that is neither a ping nor a join."""
    async with asyncio.timeout(30):
        while line := await stream.content.readline():
            message = json.loads(line)
            if message and "join" not in message.get("push", {}):
                return message
    raise AssertionError("the stream has ended")


async def test_who_is_denied_stays_denied(pair: Pair) -> None:
    """A denial holds on both nodes, after a restart of both too, until it is over."""
    now_s = int(time.time())
    revoked = sign({"sub": "r", "jti": "t-1"})
    old = sign({"sub": "i", "iat": now_s - 100})
    fresh = sign({"sub": "i", "iat": now_s + 100})
    blocked = sign({"sub": "b"})
    async with (
        connected(pair.here, revoked) as first,
        connected(pair.here, old) as second,
        connected(pair.here, fresh) as third,
        connected(pair.here, blocked) as fourth,
    ):
        for client in (first, second, third, fourth):
            await client.id()
        await pair.other.result("revoke_token", uid="t-1", expire_at=now_s + 3600)
        assert await first.next() == 3500
        await pair.other.result("invalidate_user_tokens", user="i")
        assert await second.next() == 3500
        await pair.other.result("block_user", user="b")
        assert await fourth.next() == 3507
        await pair.other.result("refresh", user="i")
        assert (await third.push())["refresh"] == {}
    await pair.other.result("update_user_status", users=["s"], state="away")

    await asyncio.to_thread(pair.restart)
    await pair.joined()
    for node in (pair.here, pair.other):
        for token, code in ((revoked, 3500), (old, 3500), (blocked, 3507)):
            async with connected(node, token) as client:
                assert await client.next() == code
        async with connected(node, fresh) as client:
            await client.id()
    (status,) = (await pair.other.result("get_user_status", users=["s"]))["statuses"]
    assert status["state"] == "away"
    assert abs(status["active"] - now_s) < 200
    found = await pair.here.result("get_user_status", users=["i", "s", "nobody"])
    assert [each["user"] for each in found["statuses"]] == ["i", "s", "nobody"]
    assert found["statuses"][0]["online"] >= now_s
    assert found["statuses"][2] == {"user": "nobody"}

    await pair.other.result("unblock_user", user="b")
    await pair.other.result("delete_user_status", users=["s"])
    async with connected(pair.here, blocked) as client:
        await client.id()
    found = await pair.here.result("get_user_status", users=["s"])
    assert found == {"statuses": [{"user": "s"}]}


async def test_subscription_tokens_are_taken_back(pair: Pair) -> None:
    """Of one channel only; what they opened on the other node is ended."""
    now_s = int(time.time())
    channels = ["seen:1", "seen:2"]
    claims = {"sub": "u", "iat": now_s - 100}
    tokens = {each: sign({**claims, "channel": each}) for each in channels}
    async with connected(pair.here, sign({"sub": "u", "iat": now_s - 100})) as client:
        await client.id()
        for number, channel in enumerate(channels, 2):
            request = {"channel": channel, "token": tokens[channel]}
            await client.send({"id": number, "subscribe": request})
            assert "subscribe" in await client.next()
        await pair.other.result("invalidate_user_tokens", user="u", channel="seen:1")
        push = await client.push()
        assert push["channel"] == "seen:1"
        assert "unsubscribe" in push
        request = {"channel": "seen:1", "token": tokens["seen:1"]}
        await client.send({"id": 9, "subscribe": request})
        assert (await client.next())["error"]["code"] == 103
        await pair.other.result("publish", channel="seen:2", data=1)
        assert (await client.push())["pub"]["data"] == 1


async def test_a_killed_node_is_forgotten(
    processes: Processes, tmp_path: Path, redis_address: str
) -> None:
    """It leaves the list after its silence, its clients presence after their time."""
    quick = {"presence_ttl": "4s"}
    client_options = {
        "token": {"hmac_secret_key": SECRET},
        "presence_update_interval": "1s",
    }
    pair = await asyncio.to_thread(
        lambda: Pair(
            processes, tmp_path, redis_address, engine=quick, client=client_options
        )
    )
    await pair.joined()
    dead, left = pair.here, pair.other
    token = sign({"sub": "u", "channels": ["seen:1"]})
    async with connected(dead, token) as first, connected(left, token) as second:
        gone, stays = await first.id(), await second.id()
        both = await left.result("presence", channel="seen:1")
        assert set(both["presence"]) == {gone, stays}
        channels = await left.result("channels")
        assert channels["channels"] == {"seen:1": {"num_clients": 2}}

        dead.process.kill()
        info = await until(lambda: left.result("info"), num_nodes(1))
        assert info["nodes"][0]["num_clients"] == 1
        channels = await left.result("channels")
        assert channels["channels"] == {"seen:1": {"num_clients": 1}}
        alone = await until(
            lambda: left.result("presence", channel="seen:1"),
            lambda found: gone not in found["presence"],
        )
        assert list(alone["presence"]) == [stays]
        stats = await left.result("presence_stats", channel="seen:1")
        assert stats == {"num_clients": 1, "num_users": 1}
        await left.result("publish", channel="seen:1", data="alive")
        while "pub" not in (push := await second.push()):
            pass
        assert push["pub"]["data"] == "alive"
