"""Clients that send anything at all: only they pay for it, with a published code."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import MovedClock
from tests.support.realtime import OPEN_CHANNEL, build_context
from tests.support.sessions import (
    TWO_WAY,
    TWO_WAY_PROTOBUF,
    ManualWheel,
    SessionClient,
    make_token,
)

from tocsin.core import client_codes
from tocsin.core.channel import PublishOptions
from tocsin.core.client_codes import ClientError, Disconnect
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.delta import BadDelta, apply_delta, create_delta
from tocsin.protocol.frames import write_varint
from tocsin.protocol.json_codec import CLIENT
from tocsin.protocol.json_text import is_json
from tocsin.transports.websocket_codec import FrameReader, Violation, unmask

DISCONNECTS = {
    (value.code, value.reason)
    for value in vars(client_codes).values()
    if isinstance(value, Disconnect)
}
ERRORS = {
    (value.code, value.message)
    for value in vars(client_codes).values()
    if isinstance(value, ClientError)
}

channels = st.sampled_from(["a", "b", "$p", "x:y", "", "ü", "a" * 300])
tokens = st.sampled_from(
    [
        "",
        "x",
        make_token(sub="u"),
        make_token(sub="", channel="a"),
        make_token(sub="", channel="$p"),
        make_token(sub="u", exp=1),
        make_token(sub="u", channels=["a", "c"]),
    ]
)
numbers = st.integers(-2, 5)
payloads = st.sampled_from([1, None, {"a": [1]}, "text", 1.5])
filters = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"key": st.just("k"), "cmp": st.sampled_from(["eq", "gt", "?"])}
    ),
    lambda inner: st.fixed_dictionaries(
        {"op": st.sampled_from(["and", "or", "not", "?"])},
        optional={"nodes": st.lists(inner, max_size=3)},
    ),
    max_leaves=4,
)
requests: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "connect": {"token": tokens, "data": payloads},
    "subscribe": {
        "channel": channels,
        "token": tokens,
        "recover": st.booleans(),
        "recoverable": st.booleans(),
        "positioned": st.booleans(),
        "join_leave": st.booleans(),
        "offset": st.integers(0, 5),
        "epoch": st.sampled_from(["", "_"]),
        "delta": st.sampled_from(["", "fossil", "other"]),
        "flag": st.integers(0, 3),
        "tf": filters,
    },
    "unsubscribe": {"channel": channels},
    "publish": {"channel": channels, "data": payloads},
    "presence": {"channel": channels},
    "presence_stats": {"channel": channels},
    "history": {
        "channel": channels,
        "limit": numbers,
        "reverse": st.booleans(),
        "since": st.fixed_dictionaries({"offset": st.integers(0, 5)}),
    },
    "rpc": {"method": st.text(max_size=3), "data": payloads},
    "send": {"data": payloads},
    "refresh": {"token": tokens},
    "sub_refresh": {"channel": channels, "token": tokens},
    "ping": {},
}


@st.composite
def commands(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(requests)))
    fields = draw(st.fixed_dictionaries({}, optional=requests[name]))
    # Most commands have an id, as those of a real client.
    return {"id": draw(st.sampled_from([1, 2, 3, 4, 5, 0])), name: fields}


frames = st.one_of(
    st.lists(commands(), min_size=1, max_size=4).map(
        lambda each: "\n".join(json.dumps(one) for one in each).encode()
    ),
    st.just(b"{}"),
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    commands().flatmap(
        lambda one: st.integers(0, 60).map(lambda cut: json.dumps(one).encode()[:cut])
    ),
)


def is_published(closed: tuple[int, str] | None) -> bool:
    """Whether an end is of a published code; what is wrong may stand behind it."""
    if closed is None:
        return True
    code, reason = closed
    return (code, reason.partition(": ")[0]) in DISCONNECTS


def check_messages(messages: list[dict[str, Any]]) -> None:
    """Every reply is of a kind that the protocol has."""
    for message in messages:
        if error := message.get("error"):
            assert (error["code"], error["message"]) in ERRORS
            assert message["id"]
        elif "push" not in message and message:
            assert message["id"]


@given(first=st.booleans(), sent=st.lists(frames, max_size=8), moves=st.lists(numbers))
async def test_random_commands(
    first: bool, sent: list[bytes], moves: list[int]
) -> None:
    """Any order of any commands ends in replies or a published code, alone."""
    clock = MovedClock()
    wheel = ManualWheel(clock)
    context = build_context(options=OPEN_CHANNEL, clock=clock, wheel=wheel)
    witness, client = SessionClient(context), SessionClient(context)
    await witness.connect()
    await witness.subscribe("a")
    if first:
        await client.connect()
    for number, frame in enumerate(sent):
        check_messages(await client.feed(frame))
        if number < len(moves) and moves[number] > 0:
            wheel.move_s(moves[number])
            if {} in await witness.take():
                await witness.feed(b"{}")
    check_messages(await client.take())
    assert is_published(client.closed)
    assert witness.closed is None
    await witness.take()
    await context.broker.publish("a", b'"still here"', PublishOptions())
    assert await witness.publications() == ["still here"]
    client.session.lost()
    await context.hub.settle()
    assert context.hub.num_clients == 1
    assert context.hub.subscribers() == {"a": 1}
    assert list(await context.presence.fetch("a")) == [witness.session.client]
    for channel in ("b", "$p", "c"):
        assert await context.presence.fetch(channel) == {}


protobuf_commands = st.builds(
    pb.Command,
    id=st.integers(0, 3),
    connect=st.none() | st.builds(pb.ConnectRequest, token=st.just("")),
    subscribe=st.none()
    | st.builds(pb.SubscribeRequest, channel=channels, recoverable=st.booleans()),
    publish=st.none()
    | st.builds(pb.PublishRequest, channel=channels, data=st.binary(max_size=5)),
    history=st.none()
    | st.builds(pb.HistoryRequest, channel=channels, limit=st.integers(-3, 3)),
)


@given(
    sent=st.lists(
        protobuf_commands.map(pb.Command.SerializeToString).map(
            lambda data: write_varint(len(data)) + data
        )
        | st.binary(max_size=30),
        max_size=8,
    )
)
async def test_random_protobuf(sent: list[bytes]) -> None:
    """The same in Protobuf, where payloads need not be JSON."""
    clock = MovedClock()
    context = build_context(clock=clock, wheel=ManualWheel(clock))
    client = SessionClient(context, TWO_WAY_PROTOBUF)
    for frame in sent:
        check_messages(await client.feed(frame))
    assert is_published(client.closed)
    client.session.lost()
    await context.hub.settle()
    assert context.hub.subscribers() == {}


@given(
    published=st.lists(st.sampled_from("abc"), max_size=30),
    subscribe_at=st.integers(0, 30),
    leave_at=st.integers(0, 30),
    back_after=st.integers(0, 10),
    filtered=st.booleans(),
)
async def test_recovery_loses_nothing(
    published: list[str],
    subscribe_at: int,
    leave_at: int,
    back_after: int,
    filtered: bool,
) -> None:
    """Away for any while: everything comes once, in order, deltas put together."""
    clock = MovedClock()
    context = build_context(clock=clock, wheel=ManualWheel(clock))
    options = PublishOptions(history_size=100, history_ttl_s=300, delta=True)
    received: list[str] = []
    position = {"offset": 0, "epoch": ""}
    client: SessionClient | None = None

    async def subscribe(**request: Any) -> SessionClient:
        fresh = SessionClient(context, TWO_WAY)
        await fresh.connect()
        if not filtered:
            request["delta"] = "fossil"
        result = await fresh.subscribe("a", recoverable=True, **request)
        position.update(epoch=result["epoch"], offset=result.get("offset", 0))
        take(result.get("publications", []))
        return fresh

    def take(messages: list[dict[str, Any]]) -> None:
        for message in messages:
            data = message["data"]
            if message.get("delta"):
                data = apply_delta(received[-1].encode(), data.encode()).decode()
            received.append(data if not filtered else json.dumps(data))
            position["offset"] = message["offset"]

    async def drain() -> None:
        if client is not None:
            take([p["pub"] for p in await client.pushes() if "pub" in p])

    began = None
    texts = [json.dumps({"n": n, "text": c * 40}) for n, c in enumerate(published)]
    for number, text in enumerate(texts):
        if number == subscribe_at:
            client, began = await subscribe(), number
        elif client is not None and number == leave_at:
            await drain()
            client.session.lost()
            client = None
        elif client is None and began is not None and number >= leave_at + back_after:
            client = await subscribe(recover=True, **position)
        await context.broker.publish("a", text.encode(), options)
    if client is None and began is not None:
        client = await subscribe(recover=True, **position)
    await drain()
    assert received == ([] if began is None else texts[began:])


@given(old=st.binary(max_size=400), new=st.binary(max_size=400))
def test_deltas_of_anything(old: bytes, new: bytes) -> None:
    """A delta makes the new payload of the old one, whatever they are."""
    assert apply_delta(old, create_delta(old, new)) == new


@given(
    base=st.binary(max_size=200),
    edits=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 60), st.binary(max_size=30)),
        max_size=5,
    ),
)
def test_deltas_of_edits(base: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    """Payloads that are alike, repeated and cut, also make each other."""
    new = base + base
    for at, size, piece in edits:
        new = new[:at] + piece + new[at + size :]
    assert apply_delta(base, create_delta(base, new)) == new


@given(old=st.binary(max_size=60), delta=st.binary(max_size=60))
def test_random_deltas_are_refused_or_true(old: bytes, delta: bytes) -> None:
    """Bytes that are no delta are refused and do no harm."""
    with contextlib.suppress(BadDelta):
        assert isinstance(apply_delta(old, delta), bytes)


@given(
    messages=st.lists(st.text(max_size=50).map(str.encode), max_size=6),
    cuts=st.lists(st.integers(1, 20), max_size=60),
    key=st.binary(min_size=4, max_size=4),
)
def test_frames_in_any_pieces(
    messages: list[bytes], cuts: list[int], key: bytes
) -> None:
    """However the bytes of good frames are cut, the messages are the same."""
    data = b"".join(
        bytes((0x81, 0x80 | len(m))) + key + unmask(m, key)
        if len(m) < 126
        else b"\x81\xfe" + len(m).to_bytes(2) + key + unmask(m, key)
        for m in messages
    )
    reader = FrameReader(1000)
    found, at = [], 0
    for cut in (*cuts, len(data)):
        found += [payload for _, payload in reader.feed(data[at : at + cut])]
        at += cut
    assert found == messages


@given(pieces=st.lists(st.binary(max_size=30), max_size=20))
def test_random_frames(pieces: list[bytes]) -> None:
    """Random bytes are frames or a violation with a close code."""
    reader = FrameReader(100)
    codes: set[int] = set()
    with contextlib.suppress(Violation):
        for piece in pieces:
            for _, payload in codes_of(reader, piece, codes):
                assert len(payload) <= 125
    assert codes <= {1002, 1007, 1009}


def codes_of(
    reader: FrameReader, piece: bytes, codes: set[int]
) -> Iterator[tuple[int, bytes]]:
    """What a reader gives for a piece; the code of a violation is noted."""
    try:
        yield from reader.feed(piece)
    except Violation as violation:
        codes.add(violation.code)
        raise


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=json_values)
def test_any_json_is_embedded_whole(value: Any) -> None:
    """What a backend writes as JSON arrives as the same JSON."""
    try:
        data = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        data = json.dumps(value).encode()
    assert is_json(data)
    written = CLIENT.write(pb.Publication(data=data))
    assert json.loads(written) == {"data": json.loads(data)} or not data
