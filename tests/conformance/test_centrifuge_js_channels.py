"""The official JavaScript SDK: channels, and what becomes of what was missed.

It runs against a whole server, over every two-way transport.
"""

from __future__ import annotations

import itertools

import pytest
from tests.support.centrifuge_js import Form, JsError, JsSession
from tests.support.cut_line import Line
from tests.support.whole_node import WholeNode, client_token

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("centrifuge-js"),  # one node process, one installation
]

_numbers = itertools.count(1)


async def test_publications_reach_others(
    node: WholeNode, js: JsSession, form: Form, channel: str, user: str
) -> None:
    """Any JSON, with who published it, or with tags where the API did."""
    ann = await js.connected(
        form, node.port, token=client_token(sub=user, info={"n": 1})
    )
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
    guest = await js.connected(form, node.port, token=client_token(sub=user))
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
    client = await js.connected(form, node.port, token=client_token(sub=user))
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
    client = await js.connected(
        form, node.port, token=client_token(sub=user, channels=[mine])
    )
    await client.wait("subscribed")
    await node.publish(mine, 1)
    await lose_one(node, mine)
    assert await client.data(3) == [1, 2, 3]
    assert client.codes("connecting")[1:] == [3010]


async def test_state_invalidated(
    node: WholeNode, js: JsSession, form: Form, channel: str, user: str
) -> None:
    """After 3014 the SDK forgets token and positions, and is told: not recovered."""
    given = client_token(sub=user)
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
    given = client_token(sub=user, subs={mine: {"data": {"hello": 1}}})
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


async def test_a_large_publication_arrives(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """A message of several frames and packets comes in one piece."""
    text = "ä😀\\" * 40_000
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    await node.publish(channel, text, 2)
    assert await subscription.data(2) == [text, 2]


async def test_bytes_that_are_no_json(
    node: WholeNode, js: JsSession, form: Form, channel: str
) -> None:
    """They arrive in Protobuf; who speaks JSON is told that it cannot have them."""
    client = await js.connected(form, node.port)
    subscription = await client.subscribed(channel)
    await node.call("publish", channel=channel, b64data="AP+A")
    if form.protocol == "protobuf":
        assert await subscription.data(1) == [{"base64": "AP+A"}]
    else:
        (told,) = await client.wait("disconnected")
        assert (told["code"], told["reason"]) == (3506, "inappropriate protocol")
