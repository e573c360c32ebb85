from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.realtime import OPEN_CHANNEL
from tests.support.sessions import (
    TWO_WAY_PROTOBUF,
    ManualWheel,
    SessionClient,
    make_token,
)

from tocsin.broker.memory import MemoryBroker
from tocsin.core.channel import (
    HistoryFilter,
    Publication,
    PublishOptions,
    StreamPosition,
)
from tocsin.core.control import SubscribeCommand, Target
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.delta import apply_delta
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
QUIET = replace(OPEN_CHANNEL, join_leave=False, presence=False)
STORED = PublishOptions(history_size=10, history_ttl_s=300)
DELTA = replace(STORED, delta=True)


async def publish(context: Context, *numbers: int) -> str:
    """Publish numbers to `a`; the stream's epoch."""
    epoch = ""
    for number in numbers:
        result = await context.broker.publish("a", b"%d" % number, STORED)
        epoch = result.position.epoch
    return epoch


def recover(offset: int, epoch: str, **more: Any) -> dict[str, Any]:
    return {
        "recoverable": True,
        "recover": True,
        "offset": offset,
        "epoch": epoch,
        **more,
    }


# --- stream mode ---

# offset asked for, own epoch (None: the stream's), recovered, publications
STREAM: list[tuple[str, int, str | None, bool, list[int]]] = [
    ("nothing missed", 15, None, True, []),
    ("some missed", 12, None, True, [13, 14, 15]),
    ("no epoch given", 12, "", True, [13, 14, 15]),
    ("just all of it", 5, None, True, list(range(6, 16))),
    ("more than is kept", 4, None, False, []),
    ("from the beginning", 0, None, False, []),
    ("another epoch", 12, "gone", False, []),
    ("invalidated state", 0, "_", False, []),
    ("ahead of the stream", 99, None, False, []),
]


@pytest.mark.parametrize(
    ("offset", "epoch", "recovered", "expected"),
    [row[1:] for row in STREAM],
    ids=[row[0] for row in STREAM],
)
async def test_stream_recovery(
    node: Node, offset: int, epoch: str | None, recovered: bool, expected: list[int]
) -> None:
    """All that was missed comes back, or nothing and the truth about it."""
    client = SessionClient(node(options=QUIET))
    own = await publish(client.context, *range(1, 16))
    await client.connect()
    result = await client.subscribe(
        "a", **recover(offset, own if epoch is None else epoch)
    )
    assert result.get("recovered", False) is recovered
    assert result["was_recovering"] is True
    assert [p["data"] for p in result.get("publications", [])] == expected
    assert result.get("offset", 0) == (offset if recovered else 15)
    assert result["epoch"] == own
    await publish(client.context, 16)
    assert await client.publications() == [16]


async def test_recovery_has_a_limit(node: Node) -> None:
    """Who missed more than the limit is told so."""
    settings = SessionSettings(insecure=True, recovery_max_publication_limit=3)
    client = SessionClient(node(settings, options=QUIET))
    epoch = await publish(client.context, *range(1, 6))
    await client.connect()
    result = await client.subscribe("a", **recover(1, epoch))
    assert "recovered" not in result
    assert "publications" not in result
    await client.reply(unsubscribe={"channel": "a"})
    result = await client.subscribe("a", **recover(2, epoch))
    assert len(result["publications"]) == 3


async def test_no_attempt_without_the_right_to_recover(node: Node) -> None:
    """Where recovery is not granted the request for it is passed over."""
    options = replace(QUIET, allow_recovery=False, allow_history_for_client=False)
    settings = SessionSettings(allow_anonymous_connect_without_token=True)
    client = SessionClient(node(settings, options=options))
    epoch = await publish(client.context, 1, 2)
    await client.connect()
    result = await client.subscribe("a", **recover(1, epoch, positioned=True))
    assert result == {"positioned": True, "epoch": epoch, "offset": 2}


# --- cache mode ---

CACHE = replace(QUIET, force_recovery=True, force_recovery_mode="cache")


@pytest.mark.parametrize(
    ("offset", "same_epoch", "expected"),
    [(0, True, [3]), (1, False, [3]), (3, True, [])],
)
async def test_cache_recovery(
    node: Node, offset: int, same_epoch: bool, expected: list[int]
) -> None:
    """In cache mode the latest publication comes, unless the client has it."""
    client = SessionClient(node(options=CACHE))
    epoch = await publish(client.context, 1, 2, 3)
    await client.connect()
    result = await client.subscribe("a", **recover(offset, epoch if same_epoch else ""))
    assert result["recovered"] is True
    assert [p["data"] for p in result.get("publications", [])] == expected


async def test_cache_recovery_of_an_empty_channel(node: Node) -> None:
    """Without a latest publication nothing was recovered."""
    client = SessionClient(node(options=CACHE))
    await client.connect()
    result = await client.subscribe("a", **recover(0, ""))
    assert result["was_recovering"] is True
    assert "recovered" not in result


async def test_automatic_cache_recovery(node: Node) -> None:
    """The latest publication comes without being asked for, where that is on."""
    client = SessionClient(node(options=replace(CACHE, auto_cache_recover=True)))
    await publish(client.context, 1, 2)
    await client.connect()
    result = await client.subscribe("a")
    assert [p["data"] for p in result["publications"]] == [2]
    assert result["recovered"] is True


# --- what arrives meanwhile ---


class HeldBroker(MemoryBroker):
    """Lets history be read, and holds back the answer until told."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
        history = await super().fetch_history(*args, **kwargs)
        self.is_read.set()
        await self.may_answer.wait()
        return history


@pytest.mark.parametrize("recovers", [True, False])
async def test_publications_during_a_subscribe_come_once_and_in_order(
    node: Node, recovers: bool
) -> None:
    """What is published while history is read is neither lost nor doubled."""
    broker = HeldBroker()
    client = SessionClient(node(broker=broker, options=QUIET))
    await client.connect()
    epoch = await publish(client.context, 1, 2)
    request = recover(1, epoch) if recovers else {"positioned": True}
    command = {"id": 50, "subscribe": {"channel": "a", **request}}
    client.session.receive(json.dumps(command).encode())
    await broker.is_read.wait()
    await publish(client.context, 3, 4)
    await broker.publish("a", b'"unstored"', PublishOptions())
    broker.may_answer.set()
    reply, *pushes = await client.take()
    result = reply["subscribe"]
    first = [p["data"] for p in result.get("publications", [])]
    assert first == ([2] if recovers else [])
    assert result["offset"] == (1 if recovers else 2)
    await publish(client.context, 5)
    later = [push["push"]["pub"]["data"] for push in pushes]
    assert later + await client.publications() == [3, 4, "unstored", 5]


async def test_a_gap_during_a_subscribe_disconnects(node: Node) -> None:
    """When messages were lost between, the client starts over."""
    broker = HeldBroker()
    client = SessionClient(node(broker=broker, options=QUIET))
    await client.connect()
    epoch = await publish(client.context, 1)
    client.session.receive(b'{"id":5,"subscribe":{"channel":"a","positioned":true}}')
    await broker.is_read.wait()
    client.context.hub.on_publication(
        "a", Publication(b"9", 9), StreamPosition(9, epoch), None
    )
    broker.may_answer.set()
    await client.take()
    assert client.closed == (3010, "insufficient state")


# --- positions of those who are subscribed ---


async def test_gap_old_and_new_epoch(node: Node) -> None:
    """Old publications are passed over; a gap or another epoch is the end."""
    for position in (StreamPosition(4, "e"), StreamPosition(1, "other")):
        context = node(options=QUIET)
        client, unpositioned = SessionClient(context), SessionClient(context)
        epoch = await publish(context, 1)
        await client.connect()
        await unpositioned.connect()
        await client.subscribe("a", positioned=True)
        await unpositioned.subscribe("a")
        hub = context.hub
        hub.on_publication("a", Publication(b"1", 1), StreamPosition(1, epoch), None)
        hub.on_publication("a", Publication(b"2", 2), StreamPosition(2, epoch), None)
        at = replace(position, epoch=epoch) if position.epoch == "e" else position
        hub.on_publication("a", Publication(b"4", at.offset), at, None)
        pushes = await client.pushes()
        assert [push.get("pub", {}).get("data") for push in pushes] == [2, None]
        assert pushes[-1] == {
            "channel": "a",
            "unsubscribe": {"code": 2500, "reason": "insufficient state"},
        }
        assert client.closed is None
        assert not client.session.subscriptions
        assert await unpositioned.publications() == [1, 2, 4]


async def test_gap_of_a_server_side_subscription(node: Node) -> None:
    """A server-side subscription that missed something ends the connection."""
    context = node(options=replace(QUIET, force_positioning=True))
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u"))
    context.hub.run(SubscribeCommand(Target(user="u"), "a"))
    await client.take()
    context.hub.on_publication("a", Publication(b"4", 4), StreamPosition(4, "e"), None)
    assert client.closed == (3010, "insufficient state")
    assert context.hub.num_subs == 0


async def _lose_one(client: SessionClient) -> None:
    """Publish once without this node hearing of it."""
    broker = client.context.broker
    await broker.unsubscribe("a")
    await publish(client.context, 99)
    await broker.subscribe("a")


async def test_periodic_check_finds_what_was_lost(
    node: Node, wheel: ManualWheel
) -> None:
    """A lost publication is noticed by the check even if nothing follows it."""
    settings = SessionSettings(
        insecure=True, ping_interval_s=0, channel_position_check_delay_s=0.001
    )
    client = SessionClient(node(settings, options=QUIET))
    await client.connect()
    await client.subscribe("a", positioned=True)
    await publish(client.context, 1)
    await asyncio.sleep(0.01)
    wheel.move_s(28)
    assert await client.publications() == [1]
    await _lose_one(client)
    await asyncio.sleep(0.01)
    wheel.move_s(28)
    (push,) = await client.pushes()
    assert push["unsubscribe"]["code"] == 2500


async def test_a_gap_of_the_broker_checks_everybody(node: Node) -> None:
    """After the broker was away positions are compared, and only the lost ones end."""
    context = node(options=QUIET)
    lost, fine = SessionClient(context), SessionClient(context)
    await lost.connect()
    await fine.connect()
    await lost.subscribe("a", positioned=True)
    await fine.subscribe("b", positioned=True)
    await _lose_one(lost)
    context.hub.on_gap()
    assert [push["unsubscribe"]["code"] for push in await lost.pushes()] == [2500]
    assert await fine.pushes() == []


async def test_what_is_under_way_is_no_loss(node: Node) -> None:
    """A publication that comes during a check's grace time counts as heard."""
    context = node(options=QUIET, position_grace_s=0.2)
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a", positioned=True)
    await context.broker.unsubscribe("a")
    epoch = await publish(context, 1)
    context.hub.on_gap()
    await asyncio.sleep(0.02)
    context.hub.on_publication(
        "a", Publication(b"1", 1), StreamPosition(1, epoch), None
    )
    assert await client.publications() == [1]
    assert client.session.subscriptions


async def test_a_joiner_that_is_ahead_waits_for_the_others(node: Node) -> None:
    """History may be ahead of pub/sub: nobody gets a publication twice or never."""
    context = node(options=QUIET)
    early, late = SessionClient(context), SessionClient(context)
    await early.connect()
    await late.connect()
    await early.subscribe("a", positioned=True)
    await context.broker.unsubscribe("a")
    epoch = await publish(context, 1, 2)
    result = await late.subscribe("a", positioned=True)
    assert result["offset"] == 2
    for offset in (1, 2, 3):
        context.hub.on_publication(
            "a",
            Publication(b"%d" % offset, offset),
            StreamPosition(offset, epoch),
            None,
        )
    assert await early.publications() == [1, 2, 3]
    assert await late.publications() == [3]
    context.hub.on_publication(
        "a", Publication(b"5", 5), StreamPosition(5, epoch), None
    )
    for client in (early, late):
        assert [push["unsubscribe"]["code"] for push in await client.pushes()] == [2500]


# --- deltas ---

TEXTS = [
    json.dumps({"id": 7, "text": "the same long text as ever", "n": n})
    for n in range(6)
]


async def _publish_text(context: Context, text: str, options: Any = DELTA) -> None:
    await context.broker.publish("a", text.encode(), options)


def _read(messages: list[dict[str, Any]]) -> tuple[list[str], list[bool]]:
    """Apply deltas as an SDK does; the texts, and which came as deltas."""
    texts: list[str] = []
    for message in messages:
        data = message["data"]
        if message.get("delta"):
            data = apply_delta(texts[-1].encode(), data.encode()).decode()
        texts.append(data)
    return texts, [bool(message.get("delta")) for message in messages]


async def test_live_deltas(node: Node) -> None:
    """The first publication is whole, then changes come, in JSON as strings."""
    context = node(options=QUIET)
    client, plain = SessionClient(context), SessionClient(context)
    await client.connect()
    await plain.connect()
    await plain.subscribe("a")
    await _publish_text(context, TEXTS[0])
    assert (await client.subscribe("a", delta="fossil"))["delta"] is True
    for text in TEXTS[1:4]:
        await _publish_text(context, text)
    texts, deltas = _read([push["pub"] for push in await client.pushes()])
    assert texts == TEXTS[1:4]
    assert deltas == [False, True, True]
    assert await plain.publications() == [json.loads(text) for text in TEXTS[:4]]


async def test_deltas_only_where_they_help_and_hold(node: Node) -> None:
    """Whole data comes when a delta is longer, not asked for, or has no base."""
    context = node(options=QUIET)
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a", delta="fossil")
    await _publish_text(context, TEXTS[0])
    await _publish_text(context, '"other"')  # shorter than any change
    await _publish_text(context, TEXTS[1], STORED)  # not asked for
    await _publish_text(context, TEXTS[2])
    await _publish_text(context, TEXTS[3], PublishOptions())  # not in the stream
    await _publish_text(context, TEXTS[4])  # the change would be since TEXTS[2]
    await _publish_text(context, TEXTS[5])
    texts, deltas = _read([push["pub"] for push in await client.pushes()])
    assert texts == [TEXTS[0], '"other"', *TEXTS[1:]]
    assert deltas == [False, False, False, True, False, False, True]


async def test_recovered_deltas(node: Node) -> None:
    """Recovered publications are a whole one and changes; live changes follow."""
    context = node(options=QUIET)
    for text in TEXTS[:4]:
        await _publish_text(context, text)
    client = SessionClient(context)
    await client.connect()
    result = await client.subscribe("a", delta="fossil", **recover(1, ""))
    await _publish_text(context, TEXTS[4])
    messages = result["publications"] + [p["pub"] for p in await client.pushes()]
    texts, deltas = _read(messages)
    assert texts == TEXTS[1:5]
    assert deltas == [False, True, True, True]


async def test_a_delta_through_a_character_is_not_sent_as_text(node: Node) -> None:
    """JSON strings hold characters: where a change cuts one, the whole comes."""
    context = node(options=QUIET)
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a", delta="fossil")
    before, after = f'"{"x" * 40}é"', f'"{"x" * 40}è"'  # they differ in one byte
    await _publish_text(context, before)
    await _publish_text(context, after)
    texts, _ = _read([push["pub"] for push in await client.pushes()])
    assert texts == [before, after]


async def test_protobuf_deltas_are_bytes(node: Node) -> None:
    """In Protobuf data is bytes, with or without deltas, and need not be JSON."""
    context = node(options=QUIET)
    client = SessionClient(context, TWO_WAY_PROTOBUF)
    frame = b""
    for command in (
        pb.Command(id=1, connect=pb.ConnectRequest()),
        pb.Command(id=2, subscribe=pb.SubscribeRequest(channel="a", delta="fossil")),
    ):
        data = command.SerializeToString()
        frame += bytes((len(data),)) + data
    await client.feed(frame)
    for tail in b"\x01\x02":
        await context.broker.publish("a", b"\xff" * 60 + bytes((tail,)), DELTA)
    await context.hub.settle()
    written = b"".join(client.link.written)
    size = written[0]
    first = pb.Reply.FromString(written[1 : 1 + size]).push.pub
    second = pb.Reply.FromString(written[2 + size :]).push.pub
    assert first.data == b"\xff" * 60 + b"\x01"
    assert second.delta
    assert apply_delta(first.data, second.data) == b"\xff" * 60 + b"\x02"


async def test_delta_subscribers_still_need_json(node: Node) -> None:
    """A JSON client with deltas cannot take data that is no JSON either."""
    context = node(options=QUIET)
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a", delta="fossil")
    await context.broker.publish("a", b"plain text", DELTA)
    await client.take()
    assert client.closed == (3506, "inappropriate protocol")


async def test_recovery_with_filter(node: Node) -> None:
    """Recovered publications pass the filter as live ones do."""
    context = node(options=QUIET)
    for number, tag in enumerate(("x", "y", "x"), start=1):
        options = replace(STORED, tags={"k": tag})
        await context.broker.publish("a", b"%d" % number, options)
    client = SessionClient(context)
    await client.connect()
    tf = {"key": "k", "cmp": "eq", "val": "x"}
    result = await client.subscribe("a", tf=tf, **recover(0, ""))
    assert [p["data"] for p in result["publications"]] == [1, 3]


async def test_position_only_read_makes_the_stream(node: Node) -> None:
    """The epoch told at subscribe is that of the first publication later."""
    context = node(options=QUIET)
    client = SessionClient(context)
    await client.connect()
    result = await client.subscribe("a", positioned=True)
    history = await context.broker.fetch_history("a", HistoryFilter(), meta_ttl_s=0)
    assert history.top.epoch == result["epoch"]
