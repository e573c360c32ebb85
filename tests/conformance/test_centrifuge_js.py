"""The official JavaScript SDK against a whole server, over every two-way transport."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from tests.support.centrifuge_js import (
    FORMS,
    Form,
    JsError,
    JsSession,
    js_session,
    run_driver,
)
from tests.support.cut_line import Line, open_line
from tests.support.npm_packages import why_no_packages
from tests.support.sessions import exposed
from tests.support.tokens import sign
from tests.support.whole_node import SECRET, WholeNode, whole_node
from tests.support.whole_server import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("centrifuge-js"),  # one node process, one server
]

KEPT = {"history_size": 100, "history_ttl": "300s"}
OPEN = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
    "allow_history_for_client": True,
    "allow_history_for_anonymous": True,
    "allow_presence_for_client": True,
    "allow_presence_for_anonymous": True,
}
NAMESPACES = [
    {"name": "open", **OPEN, **KEPT, "presence": True, "allow_positioning": True}
    | {"allow_recovery": True, "allow_tags_filter": True}
    | {"allowed_delta_types": ["fossil"]},
    {"name": "room", **OPEN, "presence": True, "join_leave": True},
    {"name": "bare", **OPEN},
    {"name": "closed"},
    {"name": "short", **OPEN, "history_size": 2, "history_ttl": "300s"}
    | {"force_recovery": True},
    {"name": "cache", **OPEN, **KEPT, "force_recovery": True}
    | {"force_recovery_mode": "cache"},
    {"name": "mine", **KEPT, "force_recovery": True},
]
FINAL = [(3500, "invalid token"), (3503, "force disconnect"), (4501, "stay away")]
PASSING = [(3001, "shutdown"), (3010, "insufficient state"), (4001, "come back")]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def driver() -> Iterator[int]:
    """The node process; its packages are installed before."""
    if reason := why_no_packages():
        pytest.skip(reason)
    with run_driver() as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    driver: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WholeNode]:
    async with whole_node(
        tmp_path_factory.mktemp("node"),
        client={
            "allow_anonymous_connect_without_token": True,
            "presence_update_interval": "200ms",
            "expired_close_delay": "3s",
            "expired_sub_close_delay": "3s",
        },
        channel={"namespaces": NAMESPACES},
    ) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def line(node: WholeNode) -> AsyncIterator[Line]:
    async with open_line(node.port) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def js(driver: int) -> AsyncIterator[JsSession]:
    async with js_session(driver) as session:
        yield session


@pytest.fixture(params=FORMS, ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    chosen: Form = request.param
    return chosen


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return f"open:{next(_numbers)}"


@pytest.fixture
def user() -> str:
    """A user that no other test is."""
    return f"user-{next(_numbers)}"


def token(**claims: Any) -> str:
    return sign(claims, SECRET)


def soon(seconds: float) -> int:
    return int(time.time() + seconds)


async def test_connects_with_a_token(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """The user, info and transport of the token's connection are the server's."""
    given = token(sub=user, info={"name": "Ann"})
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
        token=token(sub=user, exp=soon(-60)),
        tokens=[token(sub=user, exp=soon(3600))],
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
            token=token(sub=user, exp=ends),
            tokens=[token(sub=user, exp=later)],
        )
        subscription = await client.subscription(
            private,
            token=token(sub=user, channel=private, exp=ends),
            tokens=[token(sub=user, channel=private, exp=later)],
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
        form, node.port, token=token(sub=user), tokens=[token(sub=user)]
    )
    await node.call("refresh", user=user, expired=True)
    await client.wait("connected", 2)
    assert client.codes("connecting")[1:] == [3005]


async def test_subscribes_with_a_token(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """A private channel opens to its token, and the token's data comes along."""
    private = f"$open:{next(_numbers)}"
    client = await js.connected(form, node.port, token=token(sub=user))
    given = token(sub=user, channel=private, data={"hello": 1}, info={"seat": 7})
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
    client = await js.connected(form, node.port, token=token(sub=user))
    subscription = await client.subscription(
        private,
        token=token(sub=user, channel=private, exp=soon(-60)),
        tokens=[token(sub=user, channel=private)],
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


async def test_publications_reach_others(
    node: WholeNode, js: JsSession, form: Form, channel: str, user: str
) -> None:
    """Any JSON, with who published it, or with tags where the API did."""
    ann = await js.connected(form, node.port, token=token(sub=user, info={"n": 1}))
    bob = await js.connected(form, node.port)
    subscription = await bob.subscribed(channel)
    values = [{"text": "héllo\n😀"}, [1, 2.5, None], "text", 0, True]
    for value in values:
        await ann.call("publish", channel, data=value)
    assert await subscription.data(len(values)) == values
    first = subscription.of("publication")[0]
    assert (first["channel"], first["offset"]) == (channel, 1)
    assert first["info"]["user"] == user
    assert first["info"]["connInfo"] == {"n": 1}
    await node.publish(channel, 1, tags={"kind": "api"})
    last = (await subscription.wait("publication", len(values) + 1))[-1]
    assert last["tags"] == {"kind": "api"}
    assert "info" not in last


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


async def test_history_and_presence(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """Pages in both directions, the position alone, and who is there."""
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    await node.publish(channel, 1, 2, 3)
    page = await subscription.call("history", {"limit": 2})
    assert [each["data"] for each in page["publications"]] == [1, 2]
    assert page["offset"] == 3
    since = {"offset": 2, "epoch": page["epoch"]}
    page = await subscription.call("history", {"limit": 9, "since": since})
    assert [each["data"] for each in page["publications"]] == [3]
    page = await subscription.call("history", {"limit": 2, "reverse": True})
    assert [each["data"] for each in page["publications"]] == [3, 2]
    page = await client.call("history", channel, {"limit": 0})
    assert (page["publications"], page["offset"]) == ([], 3)
    with pytest.raises(JsError) as unrecoverable:
        await subscription.call("history", {"since": {"offset": 1, "epoch": "other"}})
    assert unrecoverable.value.code == 112
    found = (await subscription.call("presence"))["clients"]
    assert list(found) == [client.of("connected")[0]["client"]]
    stats = await client.call("presenceStats", channel)
    assert (stats["numClients"], stats["numUsers"]) == (1, 1)


async def test_join_and_leave(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """A subscriber who asked sees itself and others come and go."""
    room = f"room:{next(_numbers)}"
    client = await js.connected(form, node.port)
    watching = await client.subscribed(room, joinLeave=True)
    await watching.wait("join")
    guest = await js.connected(form, node.port, token=token(sub=user))
    await guest.subscribed(room)
    joins = await watching.wait("join", 2)
    await guest.call("disconnect")
    (left,) = await watching.wait("leave")
    assert left["info"] == joins[1]["info"]
    assert left["info"]["user"] == user


async def test_recovers_what_it_missed(
    node: WholeNode, js: JsSession, form: Form, line: Line, channel: str
) -> None:
    """After a lost connection every missed publication comes once and in order."""
    client = await js.connected(form, line.port)
    subscription = await client.subscribed(channel, recoverable=True)
    await node.publish(channel, 1, 2)
    await subscription.data(2)
    line.cut()
    await client.wait("connecting", 2)
    await node.publish(channel, *range(3, 40))
    line.mend()
    subscribed = await subscription.wait("subscribed", 2)
    assert subscribed[1]["wasRecovering"]
    assert subscribed[1]["recovered"]
    assert subscribed[1]["hasRecoveredPublications"]
    await node.publish(channel, 40)
    assert await subscription.data(40) == list(range(1, 41))
    offsets = [each["offset"] for each in subscription.of("publication")]
    assert offsets == list(range(1, 41))


async def test_recovers_while_others_publish(
    node: WholeNode, js: JsSession, form: Form, line: Line, channel: str
) -> None:
    """Several losses under a steady flow: nothing twice, nothing missing."""
    client = await js.connected(form, line.port)
    subscription = await client.subscribed(channel, recoverable=True)
    total = 90
    for number in range(total):
        if number in (20, 40, 60):
            line.cut()
        if number in (30, 50, 70):
            line.mend()
        await node.publish(channel, number)
    assert await subscription.data(total) == list(range(total))
    await node.publish(channel, total)
    assert await subscription.data(total + 1) == list(range(total + 1))


async def test_recovery_that_fails(
    node: WholeNode, js: JsSession, form: Form, line: Line
) -> None:
    """Who missed more than is kept is told so, and goes on from the top."""
    short = f"short:{next(_numbers)}"
    client = await js.connected(form, line.port)
    subscription = await client.subscribed(short)
    line.cut()
    await client.wait("connecting", 2)
    await node.publish(short, *range(5))
    line.mend()
    subscribed = await subscription.wait("subscribed", 2)
    assert subscribed[1]["wasRecovering"]
    assert not subscribed[1]["recovered"]
    await node.publish(short, "after")
    assert await subscription.data(1) == ["after"]


async def test_recovers_the_latest(
    node: WholeNode, js: JsSession, form: Form, line: Line
) -> None:
    """In cache mode the latest publication comes, and none of those before it."""
    cache = f"cache:{next(_numbers)}"
    client = await js.connected(form, line.port)
    subscription = await client.subscribed(cache)
    await node.publish(cache, 1)
    await subscription.data(1)
    line.cut()
    await client.wait("connecting", 2)
    await node.publish(cache, 2, 3, 4)
    line.mend()
    subscribed = await subscription.wait("subscribed", 2)
    assert subscribed[1]["recovered"]
    await node.publish(cache, 5)
    assert await subscription.data(3) == [1, 4, 5]


async def test_starts_from_a_known_position(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """`since` brings what came after a position that the application kept."""
    await node.publish(channel, 1, 2, 3)
    client = await js.connected(form, node.port)
    page = await client.call("history", channel, {"limit": 0})
    since = {"offset": 1, "epoch": page["epoch"]}
    subscription = await client.subscribed(channel, since=since, recoverable=True)
    assert await subscription.data(2) == [2, 3]


async def test_unsubscribed_by_the_server(
    node: WholeNode, js: JsSession, form: Form, channel: str, user: str
) -> None:
    """2000 is final: the SDK does not subscribe again, until it is asked to."""
    client = await js.connected(form, node.port, token=token(sub=user))
    subscription = await client.subscribed(channel)
    await node.call("unsubscribe", user=user, channel=channel)
    (context,) = await subscription.wait("unsubscribed")
    assert (context["code"], context["reason"]) == (2000, "server unsubscribe")
    assert await subscription.state() == "unsubscribed"
    await node.publish(channel, "unheard")
    await subscription.call("subscribe")
    await subscription.wait("subscribed", 2)
    await node.publish(channel, "heard")
    assert await subscription.data(1) == ["heard"]


async def test_unsubscribes(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """After the client's unsubscribe nothing comes, and its presence is gone."""
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    await subscription.call("unsubscribe")
    stats = await client.call("presenceStats", channel)
    assert stats["numClients"] == 0
    await node.publish(channel, "unheard")
    await subscription.call("subscribe")
    await subscription.wait("subscribed", 2)
    await node.publish(channel, "heard")
    assert await subscription.data(1) == ["heard"]


async def lose_one(node: WholeNode, channel: str) -> None:
    """Publish 2, which this node does not hear of, and 3, which it does."""
    broker = node.realtime.engine.broker
    await broker.unsubscribe(channel)
    await node.publish(channel, 2)
    await broker.subscribe(channel)
    await node.publish(channel, 3)


async def test_insufficient_state(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """A gap is noticed: 2500, and the SDK recovers what the node did not hear."""
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel, recoverable=True)
    await node.publish(channel, 1)
    await lose_one(node, channel)
    assert await subscription.data(3) == [1, 2, 3]
    assert subscription.codes("subscribing")[1:] == [2500]
    assert len(client.of("connected")) == 1


async def test_insufficient_state_of_a_server_side_subscription(
    node: WholeNode, js: JsSession, form: Form, user: str
) -> None:
    """There the connection begins anew with 3010, and recovers."""
    mine = f"mine:{next(_numbers)}"
    client = await js.connected(form, node.port, token=token(sub=user, channels=[mine]))
    await client.wait("subscribed")
    await node.publish(mine, 1)
    await lose_one(node, mine)
    assert await client.data(3) == [1, 2, 3]
    assert client.codes("connecting")[1:] == [3010]


async def test_state_invalidated(
    node: WholeNode, js: JsSession, form: Form, channel: str, user: str
) -> None:
    """After 3014 the SDK forgets token and positions, and is told: not recovered."""
    given = token(sub=user)
    client = await js.connected(form, node.port, token=given, tokens=[given])
    subscription = await client.subscribed(channel, recoverable=True)
    await node.publish(channel, 1)
    await subscription.data(1)
    reason = {"code": 3014, "reason": "state invalidated"}
    await node.call("disconnect", user=user, disconnect=reason)
    subscribed = await subscription.wait("subscribed", 2)
    assert client.codes("connecting")[1:] == [3014]
    assert len(client.of("getToken")) == 1
    assert subscribed[1]["wasRecovering"]
    assert not subscribed[1]["recovered"]
    await node.publish(channel, 2)
    assert await subscription.data(2) == [1, 2]


async def test_server_side_subscriptions(
    node: WholeNode, js: JsSession, form: Form, line: Line, user: str
) -> None:
    """Channels of the token and of the API, recovered after a lost connection."""
    mine, extra = f"mine:{next(_numbers)}", f"mine:{next(_numbers)}"
    given = token(sub=user, subs={mine: {"data": {"hello": 1}}})
    client = await js.client(form, line.port, token=given)
    (context,) = await client.wait("subscribed")
    assert (context["channel"], context["data"]) == (mine, {"hello": 1})
    await node.publish(mine, 1)
    await client.data(1)
    line.cut()
    await client.wait("connecting", 2)
    await node.publish(mine, 2, 3)
    line.mend()
    assert await client.data(3) == [1, 2, 3]
    again = (await client.wait("subscribed", 2))[1]
    assert again["recovered"]
    await node.call("subscribe", user=user, channel=extra, data={"hello": 2})
    added = (await client.wait("subscribed", 3))[2]
    assert (added["channel"], added["data"]) == (extra, {"hello": 2})
    await node.publish(extra, 4)
    assert await client.data(4) == [1, 2, 3, 4]
    await node.call("unsubscribe", user=user, channel=extra)
    (gone,) = await client.wait("unsubscribed")
    assert gone["channel"] == extra


async def test_deltas(
    node: WholeNode, js: JsSession, form: Form, line: Line, channel: str
) -> None:
    """The SDK puts together what comes as changes, live and recovered."""
    texts = [{"text": "läng enough that a change is shorter", "n": n} for n in range(9)]
    client = await js.connected(form, line.port)
    subscription = await client.subscribed(channel, delta="fossil", recoverable=True)
    await node.publish(channel, *texts[:3], delta=True)
    await subscription.data(3)
    line.cut()
    await client.wait("connecting", 2)
    await node.publish(channel, *texts[3:6], delta=True)
    line.mend()
    await subscription.data(6)
    await node.publish(channel, *texts[6:], delta=True)
    assert await subscription.data(9) == texts
    stats = await subscription.call("deltaStats")
    assert (stats["numPublications"], stats["numFullPayloads"]) == (9, 2)
    assert stats["bytesReceived"] < stats["bytesDecoded"]


async def test_tags_filter(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """Only what the client's filter lets through arrives."""
    client = await js.connected(form, node.port)
    either = {
        "op": "or",
        "nodes": [
            {"key": "kind", "cmp": "in", "vals": ["x", "y"]},
            {"key": "price", "cmp": "gt", "val": "10"},
        ],
    }
    subscription = await client.subscribed(channel, tagsFilter=either)
    for number, tags in enumerate(
        (
            {"kind": "z", "price": "9"},
            {"kind": "y"},
            {"price": "9.9"},
            {"kind": "z", "price": "11"},
            {},
            {"kind": "x", "price": "1"},
        )
    ):
        await node.publish(channel, number, tags=tags)
    assert await subscription.data(3) == [1, 3, 5]


@pytest.mark.parametrize(
    ("code", "reason"), FINAL + PASSING, ids=lambda value: str(value)
)
async def test_disconnect_codes(
    node: WholeNode, js: JsSession, form: Form, user: str, code: int, reason: str
) -> None:
    """The SDK reads code and reason, and comes back or stays away by them."""
    client = await js.connected(form, node.port, token=token(sub=user))
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


async def test_a_large_publication_arrives(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """A message of several frames and packets comes in one piece."""
    text = "ä😀\\" * 40_000
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    await node.publish(channel, text, 2)
    assert await subscription.data(2) == [text, 2]


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
            client = await js.connected(form, node.port, token=token(sub=user))
            await client.call("rpc", "ping", data={})
            with pytest.raises(JsError) as refused:
                await client.call("rpc", "other", data={})
            assert refused.value.code == 104
