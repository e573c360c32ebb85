"""The official JavaScript SDK and several nodes on one Redis, behind a balancer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.support.centrifuge_js import Form, JsSession
from tests.support.cut_line import open_line
from tests.support.whole_node import WholeNode, client_token, whole_node
from tests.support.whole_server import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("centrifuge-js"),  # one node process, one installation
]

KEPT = {
    "name": "kept",
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_presence_for_client": True,
    "presence": True,
    "join_leave": True,
    "history_size": 100,
    "history_ttl": "300s",
    "force_recovery": True,
}


@asynccontextmanager
async def joined(folder: Path, redis_address: str) -> AsyncIterator[WholeNode]:
    """A node that has joined the others."""
    async with whole_node(
        folder,
        engine={"type": "redis", "redis": {"address": redis_address}},
        channel={"namespaces": [KEPT]},
    ) as node:
        yield node


async def wait_known(node: WholeNode, number: int) -> None:
    """Wait until a node knows this many."""

    async def are_known() -> bool:
        return len((await node.call("info"))["nodes"]) == number

    await until(are_known)


async def test_commands_reach_the_node_of_their_session(
    js: JsSession, form: Form, tmp_path: Path, redis_address: str
) -> None:
    """What a client sends may come in at another node than its stream."""
    async with (
        joined(tmp_path, redis_address) as one,
        joined(tmp_path, redis_address) as two,
        open_line(one.port, two.port) as line,
    ):
        await wait_known(one, 2)
        await wait_known(two, 2)
        ann, bob = [
            await js.connected(form, line.port, token=client_token(sub=name))
            for name in ("ann", "bob")
        ]
        channel = "kept:1"
        seen = [await each.subscribed(channel, joinLeave=True) for each in (ann, bob)]
        for number in range(20):
            await (ann, bob)[number % 2].call("publish", channel, data=number)
        await one.publish(channel, "of one")
        await two.publish(channel, "of two")
        for subscription in seen:
            told = [*range(20), "of one", "of two"]
            assert await subscription.data(len(told)) == told
        found = (await seen[0].call("presence"))["clients"].values()
        assert sorted(each["user"] for each in found) == ["ann", "bob"]
        await one.call("unsubscribe", user="ann", channel=channel)
        await two.call("unsubscribe", user="bob", channel=channel)
        for subscription in seen:
            (gone,) = await subscription.wait("unsubscribed")
            assert gone["code"] == 2000


async def test_another_node_has_it_all(
    js: JsSession, form: Form, tmp_path: Path, redis_address: str
) -> None:
    """A node that stops sends clients away with 3001; another one recovers them."""
    channel = "kept:1"
    async with joined(tmp_path, redis_address) as stays, AsyncExitStack() as going:
        goes = await going.enter_async_context(joined(tmp_path, redis_address))
        line = await going.enter_async_context(open_line(goes.port, stays.port))
        await wait_known(stays, 2)
        client = await js.connected(
            form, line.port, token=client_token(sub="ann", channels=["kept:mine"])
        )
        subscription = await client.subscribed(channel)
        first = client.of("connected")[0]["client"]
        assert goes.realtime.hub.find_client(first) is not None
        await stays.publish(channel, *range(5))
        await subscription.data(5)
        publishing = asyncio.create_task(stays.publish(channel, *range(5, 60)))
        await goes.stop()
        await stays.publish("kept:mine", "told")
        await publishing
        assert await subscription.data(60) == list(range(60))
        assert await client.data(1) == ["told"]
        assert client.codes("connecting")[1:] == [3001]
        second = client.of("connected")[-1]["client"]
        assert stays.realtime.hub.find_client(second) is not None
