"""The official JavaScript SDK: connections, tokens, commands and their codes.

It runs against a whole server, over every two-way transport.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from tests.support.centrifuge_js import FORMS, Form, JsError, JsSession
from tests.support.cut_line import open_line
from tests.support.sessions import exposed
from tests.support.tokens import sign
from tests.support.whole_node import WholeNode, client_token, whole_node
from tests.support.whole_server import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("centrifuge-js"),  # one node process, one installation
]

FINAL = [(3500, "invalid token"), (3503, "force disconnect"), (4501, "stay away")]
PASSING = [(3001, "shutdown"), (3010, "insufficient state"), (4001, "come back")]

_numbers = itertools.count(1)


def soon(seconds: float) -> int:
    return int(time.time() + seconds)


async def test_connects_with_a_token(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """The user, info and transport of the token's connection are the server's."""
    given = client_token(sub=user, info={"name": "Ann"})
    client = await js.client(form, node.port, token=given, name="web", version="1.2")
    (context,) = await client.wait("connected")
    listed = (await node.call("connections", user=user))["connections"]
    told = listed[context["client"]]
    assert (told["app_name"], told["app_version"]) == ("web", "1.2")
    assert (told["transport"], told["protocol"]) == (form.transport, form.protocol)
    await client.call("disconnect")
    (gone,) = await client.wait("disconnected")
    assert gone["code"] == 0

    async def is_forgotten() -> bool:
        return not (await node.call("connections", user=user)).get("connections")

    await until(is_forgotten)


async def test_connects_anonymously(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """Without a token where that is allowed: a client without a user."""
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    (found,) = (await subscription.call("presence"))["clients"].values()
    assert not found.get("user")  # Protobuf has no empty texts
    assert found["client"] == client.of("connected")[0]["client"]


@pytest.mark.parametrize("given", ["broken", sign({"sub": "ann"}, "not the secret")])
async def test_an_invalid_token_is_final(
    node: WholeNode, js: JsSession, form: Form, given: str
) -> None:
    """The SDK is told 3500 and does not come back."""
    client = await js.client(form, node.port, token=given)
    (context,) = await client.wait("disconnected")
    assert (context["code"], context["reason"]) == (3500, "invalid token")
    assert await client.state() == "disconnected"
    assert len(client.of("connecting")) == 1
    assert client.of("connected") == []


async def test_an_expired_token_is_replaced(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """After 109 the SDK fetches another token and connects with it."""
    client = await js.client(
        form,
        node.port,
        token=client_token(sub=user, exp=soon(-60)),
        tokens=[client_token(sub=user, exp=soon(3600))],
    )
    (context,) = await client.wait("connected")
    assert len(client.of("getToken")) == 1
    listed = (await node.call("connections", user=user))["connections"]
    assert list(listed) == [context["client"]]


async def test_tokens_are_refreshed_in_time(
    node: WholeNode, js: JsSession, user: str
) -> None:
    """Connections and subscriptions outlive their tokens, over every transport."""
    private = f"$open:{next(_numbers)}"
    ends = soon(2)
    later = soon(3600)
    made = []
    for form in FORMS:
        client = await js.client(
            form,
            node.port,
            token=client_token(sub=user, exp=ends),
            tokens=[client_token(sub=user, exp=later)],
        )
        subscription = await client.subscription(
            private,
            token=client_token(sub=user, channel=private, exp=ends),
            tokens=[client_token(sub=user, channel=private, exp=later)],
        )
        made.append((client, subscription))
    for client, subscription in made:
        await client.wait("getToken")
        await subscription.wait("getToken")
    await asyncio.sleep(ends + 3.5 - time.time())  # unrefreshed ones have ended by then
    await node.publish(private, "still here")
    for client, subscription in made:
        assert await subscription.data(1) == ["still here"]
        assert len(client.of("connected")) == len(subscription.of("subscribed")) == 1


async def test_a_refresh_by_the_server(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """A connection that the API calls expired comes back with a new token."""
    client = await js.connected(
        form, node.port, token=client_token(sub=user), tokens=[client_token(sub=user)]
    )
    await node.call("refresh", user=user, expired=True)
    await client.wait("connected", 2)
    assert client.codes("connecting")[1:] == [3005]


async def test_subscribes_with_a_token(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """A private channel opens to its token, and the token's data comes along."""
    private = f"$open:{next(_numbers)}"
    client = await js.connected(form, node.port, token=client_token(sub=user))
    given = client_token(sub=user, channel=private, data={"hello": 1}, info={"seat": 7})
    subscription = await client.subscription(private, token=given)
    (context,) = await subscription.wait("subscribed")
    assert context["data"] == {"hello": 1}
    await subscription.call("publish", data="x")
    (publication,) = await subscription.wait("publication")
    assert publication["info"]["chanInfo"] == {"seat": 7}


async def test_an_expired_subscription_token_is_replaced(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """After 109 the SDK fetches another token for the channel."""
    private = f"$open:{next(_numbers)}"
    client = await js.connected(form, node.port, token=client_token(sub=user))
    subscription = await client.subscription(
        private,
        token=client_token(sub=user, channel=private, exp=soon(-60)),
        tokens=[client_token(sub=user, channel=private)],
    )
    await subscription.wait("subscribed")
    assert len(subscription.of("getToken")) == 1


@pytest.mark.parametrize(
    ("refused", "options", "code"),
    [
        ("$open:1", {"token": "broken"}, 103),
        ("$open:1", {}, 103),
        ("closed:1", {}, 103),
        ("nowhere:1", {}, 102),
    ],
    ids=["invalid token", "no token", "not allowed", "unknown"],
)
async def test_a_refused_subscription_keeps_the_connection(
    node: WholeNode,
    js: JsSession,
    form: Form,
    channel: str,
    refused: str,
    options: dict[str, Any],
    code: int,
) -> None:
    """The subscription ends with the error; the connection and others go on."""
    client = await js.connected(form, node.port)
    other = await client.subscribed(channel)
    subscription = await client.subscription(refused, **options)
    (context,) = await subscription.wait("unsubscribed")
    assert context["code"] == code
    await node.publish(channel, "on")
    assert await other.data(1) == ["on"]
    assert client.of("disconnected") == []
    assert len(client.of("connected")) == 1


async def test_refused_commands(node: WholeNode, js: JsSession, form: Form) -> None:
    """Every command's refusal has its code, and changes nothing else."""
    client = await js.connected(form, node.port)
    for code, method, *arguments in (
        (103, "publish", "closed:1"),
        (102, "publish", "nowhere:1"),
        (108, "rpc", "anything"),
    ):
        with pytest.raises(JsError) as refused:
            await client.call(method, *arguments, data={})
        assert refused.value.code == code, method
    for code, method, channel in (
        (108, "history", "bare:1"),
        (103, "history", "mine:1"),
        (108, "presence", "bare:1"),
        (108, "presenceStats", "bare:1"),
        (102, "presence", "nowhere:1"),
    ):
        with pytest.raises(JsError) as refused:
            await client.call(method, channel)
        assert refused.value.code == code, method
    assert await client.state() == "connected"


@pytest.mark.parametrize(
    ("code", "reason"), FINAL + PASSING, ids=lambda value: str(value)
)
async def test_disconnect_codes(
    node: WholeNode, js: JsSession, form: Form, user: str, code: int, reason: str
) -> None:
    """The SDK reads code and reason, and comes back or stays away by them."""
    client = await js.connected(form, node.port, token=client_token(sub=user))
    await node.call(
        "disconnect", user=user, disconnect={"code": code, "reason": reason}
    )
    if (code, reason) in PASSING:
        await client.wait("connected", 2)
        told = client.of("connecting")[1]
    else:
        (told,) = await client.wait("disconnected")
        assert len(client.of("connecting")) == 1
    assert (told["code"], told["reason"]) == (code, reason)


async def test_a_message_that_is_too_large(
    node: WholeNode, js: JsSession, channel: str
) -> None:
    """Over WebSocket it ends the connection for good, as the SDK expects."""
    for form in FORMS[:2]:
        client = await js.connected(form, node.port)
        with pytest.raises(JsError):
            await client.call("publish", channel, data="x" * 70_000)
        (told,) = await client.wait("disconnected")
        assert (told["code"], told["reason"]) == (3, "message size limit exceeded")


async def test_many_commands_at_once(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """Commands that the SDK sends together are all answered, in order carried out."""
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    await client.call("startBatching")
    calls = [
        asyncio.create_task(client.call("publish", channel, data=number))
        for number in range(50)
    ]
    await client.state()  # the driver has taken them all
    await client.call("stopBatching")
    await asyncio.gather(*calls)
    assert await subscription.data(50) == list(range(50))


async def test_pings_are_answered(
    driver: int, js: JsSession, tmp_path: Any, user: str
) -> None:
    """Clients of every form answer pings and stay; one that is cut off gets 3012."""
    timers = {"ping_interval": "600ms", "pong_timeout": "500ms"}
    section = {"allow_anonymous_connect_without_token": True, **timers}
    async with (
        whole_node(tmp_path, client=section) as node,
        open_line(node.port) as line,
    ):
        clients = [await js.connected(form, node.port) for form in FORMS]
        deaf = await js.connected(FORMS[0], line.port)
        meter = node.realtime.hub.meter
        counted = "client_ping_pong_duration_seconds_count"
        names = [f"{counted}{{transport={form.transport}}}" for form in FORMS]

        async def have_ponged() -> bool:
            values = exposed(meter)
            return all(values.get(name, 0) >= 4 for name in names)

        await until(have_ponged)
        line.is_deaf = True
        await deaf.wait("connecting", 2)
        assert deaf.codes("connecting")[1] == 3012
        # A pong too many, or a malformed one, would be 3501 and final.
        assert not any(each.of("disconnected") for each in clients)


async def test_without_token_and_with_rpc(
    driver: int, js: JsSession, tmp_path: Any, user: str
) -> None:
    """Where anonymous clients may not connect 3501 is final; rpc `ping` if enabled."""
    rpc = {"ping": {"enabled": True}}
    async with whole_node(tmp_path, rpc=rpc) as node:
        for form in FORMS:
            client = await js.client(form, node.port)
            (told,) = await client.wait("disconnected")
            assert (told["code"], told["reason"]) == (3501, "bad request")
            client = await js.connected(form, node.port, token=client_token(sub=user))
            await client.call("rpc", "ping", data={})
            with pytest.raises(JsError) as refused:
                await client.call("rpc", "other", data={})
            assert refused.value.code == 104


@pytest.mark.parametrize("others", [FORMS[2:], FORMS[4:]], ids=["stream", "sse"])
async def test_falls_back(
    driver: int, js: JsSession, tmp_path: Any, user: str, others: list[Form]
) -> None:
    """Where WebSocket is off the SDK takes the next transport that answers."""
    options = {"token": client_token(sub=user), "others": others}
    async with whole_node(tmp_path, websocket={"disabled": True}) as node:
        client = await js.connected(FORMS[0], node.port, **options)
        assert client.of("connected")[0]["transport"] == others[0].transport
        (told,) = (await node.call("connections", user=user))["connections"].values()
        assert told["transport"] == others[0].transport
