"""Commands, orders, publications and ends in any interleaving: nothing is lost or left.

Broker and presence store take a few turns of the loop for each call, so that what is
begun on one connection meets what is begun on the others, and itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.clock import MovedClock
from tests.support.realtime import OPEN_CHANNEL, build_context
from tests.support.sessions import (
    ManualWheel,
    RecordingLink,
    SessionClient,
    make_token,
)

from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.core.channel import PublishOptions
from tocsin.core.client_codes import SLOW, WRITE_ERROR
from tocsin.core.control import (
    DisconnectCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.protocol.delta import apply_delta
from tocsin.sessions.context import Context
from tocsin.sessions.session import Session
from tocsin.sessions.settings import SessionSettings

STORED = PublishOptions(
    history_size=100, history_ttl_s=300, history_meta_ttl_s=300, delta=True
)
CHANNELS = ("a", "b")


class Turns:
    """How many turns of the loop each call takes."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = cycle(numbers)

    async def pass_some(self) -> None:
        for _ in range(next(self._numbers)):
            await asyncio.sleep(0)


class LateBroker(MemoryBroker):
    """Takes some turns before and after each answer."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self.published: dict[tuple[str, int], tuple[str, str]] = {}

    async def subscribe(self, channel: str) -> None:
        await self._turns.pass_some()
        await super().subscribe(channel)
        await self._turns.pass_some()

    async def unsubscribe(self, channel: str) -> None:
        await self._turns.pass_some()
        await super().unsubscribe(channel)
        await self._turns.pass_some()

    async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
        await self._turns.pass_some()
        found = await super().fetch_history(*args, **kwargs)
        await self._turns.pass_some()
        return found

    def publish_now(self, channel: str, is_lost: bool, tag: str) -> None:
        """A publication; a lost one is in the stream and reaches nobody."""
        number = len(self.published) + 1
        data = b'"%s %d"' % (b"text " * 10, number)
        top = self._streams[channel].offset if channel in self._streams else 0
        self.published[channel, top + 1] = (json.loads(data), tag)
        subscribed = set(self._subscribed)
        if is_lost:
            self._subscribed.clear()
        self._append(channel, data, replace(STORED, tags={"k": tag}))
        self._subscribed = subscribed


class LatePresence(MemoryPresence):
    """Takes some turns before and after each answer."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    async def add(self, *args: Any) -> None:
        await self._turns.pass_some()
        await super().add(*args)
        await self._turns.pass_some()

    async def remove(self, *args: Any) -> None:
        await self._turns.pass_some()
        await super().remove(*args)
        await self._turns.pass_some()


class LateDenials:
    """A `DenialStore` that finds nothing after some turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def fetch(self, keys: Sequence[object]) -> list[int | None]:
        await self._turns.pass_some()
        return [None] * len(keys)


class EndingLink(RecordingLink):
    """Ends its session at the next write once it `is_full`."""

    def __init__(self) -> None:
        super().__init__()
        self.session: Session | None = None
        self.is_full = False

    def write(self, data: bytes) -> None:
        if self.closed is not None:
            return
        if self.is_full and self.session is not None:
            self.session.close(SLOW)
            return
        super().write(data)


class Told:
    """What a client knows of a subscription."""

    def __init__(self, result: dict[str, Any], request: dict[str, Any]) -> None:
        self.is_positioned = result.get("positioned", False)
        self.takes_deltas = result.get("delta", False)
        self.is_filtered = "tf" in request
        self.offset = result.get("offset", 0)
        self.text = b""


class Client(SessionClient):
    """Remembers what it was told of its subscriptions."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        link = EndingLink()
        self.session = Session(context, link, self.session.traits, header_user="")
        link.session = self.session
        self.link = self.ending = link
        self.session.open()
        self.asked: dict[int, dict[str, Any]] = {}
        self.told: dict[str, Told] = {}
        self._next = 0

    def command(self, name: str, **request: Any) -> None:
        self._next += 1
        self.asked[self._next] = request
        self.session.receive(json.dumps({"id": self._next, name: request}).encode())

    def read(self) -> None:
        """Check everything that came: offsets follow each other, deltas apply."""
        data = b"".join(self.link.written)
        self.link.written.clear()
        for line in filter(None, data.split(b"\n")):
            message = json.loads(line)
            if "push" in message:
                self._take_push(message["push"])
            elif "connect" in message:
                for channel, result in message["connect"].get("subs", {}).items():
                    self._begin(channel, result, {})
            elif "subscribe" in message:
                request = self.asked[message["id"]]
                self._begin(request["channel"], message["subscribe"], request)
            elif "unsubscribe" in message:
                self.told.pop(self.asked[message["id"]]["channel"], None)

    def _begin(
        self, channel: str, result: dict[str, Any], request: dict[str, Any]
    ) -> None:
        self.told[channel] = Told(result, request)
        for each in result.get("publications", ()):
            self._take_publication(channel, each)

    def _take_push(self, push: dict[str, Any]) -> None:
        channel = push["channel"]
        if "subscribe" in push:
            self._begin(channel, push["subscribe"], {})
        elif "unsubscribe" in push:
            self.told.pop(channel, None)
        elif "pub" in push:
            assert channel in self.told, "a publication of no subscription"
            self._take_publication(channel, push["pub"])

    def _take_publication(self, channel: str, publication: dict[str, Any]) -> None:
        told, offset = self.told[channel], publication["offset"]
        broker = self.context.broker
        assert isinstance(broker, LateBroker)
        if told.is_positioned:
            passed = range(told.offset + 1, offset)
            missed = [broker.published[channel, each] for each in passed]
            assert all(told.is_filtered and tag != "1" for _, tag in missed)
            assert offset > told.offset
            told.offset = offset
        data = publication["data"]
        if told.takes_deltas:
            is_delta = publication.get("delta", False)
            raw = data.encode()
            told.text = apply_delta(told.text, raw) if is_delta else raw
            data = json.loads(told.text)
        text, tag = broker.published[channel, offset]
        assert data == text
        assert not told.is_filtered or tag == "1"


numbers = st.integers(0, 1)
channels = st.sampled_from(CHANNELS)
requests = st.fixed_dictionaries(
    {"channel": channels},
    optional={
        "positioned": st.just(True),
        "recoverable": st.just(True),
        "recover": st.just(True),
        "join_leave": st.just(True),
        "delta": st.just("fossil"),
        "tf": st.just({"key": "k", "cmp": "eq", "val": "1"}),
    },
)
overrides = st.fixed_dictionaries(
    {},
    optional={
        "presence": st.booleans(),
        "force_positioning": st.booleans(),
        "join_leave": st.booleans(),
    },
)
steps = st.one_of(
    st.tuples(st.just("subscribe"), numbers, requests),
    st.tuples(st.just("unsubscribe"), numbers, channels),
    st.tuples(st.just("order"), numbers, channels, overrides),
    st.tuples(st.just("revoke"), numbers, channels),
    st.tuples(st.just("publish"), channels, st.booleans(), st.sampled_from(["1", "2"])),
    st.tuples(st.just("disconnect"), numbers),
    st.tuples(st.just("fill"), numbers),
    st.tuples(st.just("fail"), numbers),
    st.tuples(st.just("lose"), numbers),
    st.tuples(st.just("check"), channels),
    st.tuples(st.just("turns"), st.integers(1, 6)),
)


class Scene:
    """Two clients on a node, and what may happen to them."""

    def __init__(self, concurrency: int, turns: list[int]) -> None:
        clock = MovedClock()
        self.broker = LateBroker(Turns(turns))
        self.context = build_context(
            SessionSettings(insecure=True, concurrency=concurrency),
            options=OPEN_CHANNEL,
            broker=self.broker,
            presence=LatePresence(Turns(turns[::-1])),
            clock=clock,
            wheel=ManualWheel(clock),
            position_grace_s=0,
            denied=LateDenials(Turns(turns)),
        )
        self.clients = [Client(self.context) for _ in range(2)]

    async def play(self, at_connect: list[list[str]], steps: list[Any]) -> None:
        for client, channels in zip(self.clients, at_connect, strict=True):
            client.command("connect", token=make_token(sub="u", channels=channels))
        for name, *rest in steps:
            await getattr(self, f"do_{name}")(*rest)
        await self.context.hub.settle()

    async def do_subscribe(self, who: int, request: dict[str, Any]) -> None:
        self.clients[who].command("subscribe", **request)

    async def do_unsubscribe(self, who: int, channel: str) -> None:
        self.clients[who].command("unsubscribe", channel=channel)

    async def do_order(self, who: int, channel: str, overrides: Any) -> None:
        command = SubscribeCommand(self._target(who), channel, overrides=overrides)
        self.context.hub.run(command)

    async def do_revoke(self, who: int, channel: str) -> None:
        self.context.hub.run(UnsubscribeCommand(self._target(who), channel))

    async def do_publish(self, channel: str, is_lost: bool, tag: str) -> None:
        self.broker.publish_now(channel, is_lost, tag)

    async def do_disconnect(self, who: int) -> None:
        self.context.hub.run(DisconnectCommand(self._target(who)))

    async def do_fill(self, who: int) -> None:
        self.clients[who].ending.is_full = True

    async def do_fail(self, who: int) -> None:
        self.clients[who].session.close(WRITE_ERROR)

    async def do_lose(self, who: int) -> None:
        self.clients[who].session.lost()

    async def do_check(self, channel: str) -> None:
        self.context.hub.check_position(channel, older_than_s=0)

    async def do_turns(self, number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    def _target(self, who: int) -> Target:
        return Target(client=self.clients[who].session.client)

    def alive(self) -> Iterator[Client]:
        for client in self.clients:
            if not client.session.is_closed:
                yield client

    async def check_presence(self) -> None:
        """The store says what the connections say."""
        for channel in CHANNELS:
            expected = {
                client.session.client
                for client in self.alive()
                if channel in client.session.subscriptions
                and client.session.subscriptions[channel].options.presence
            }
            found = await self.context.presence.fetch(channel)
            assert set(found) == expected, channel

    def check_subscriptions(self) -> None:
        """Client, connection and hub say the same."""
        for client in self.alive():
            if client.ending.is_full:
                continue
            client.read()
            held = client.session.subscriptions
            assert all(each.is_active for each in held.values())
            assert set(client.told) == set(held)
        expected: dict[str, int] = {}
        for client in self.alive():
            for channel in client.session.subscriptions:
                expected[channel] = expected.get(channel, 0) + 1
        assert self.context.hub.subscribers() == expected

    async def check_delivery(self) -> None:
        """Who is subscribed hears what comes, or that it missed something."""
        for channel in CHANNELS:
            await self.do_publish(channel, False, "1")
        await self.context.hub.settle()
        self.check_subscriptions()
        for client in self.alive():
            if client.ending.is_full:
                continue
            for channel, told in client.told.items():
                top = self.broker._streams[channel].offset
                assert not told.is_positioned or told.offset == top, channel

    async def check_end(self) -> None:
        """Nothing is left of those who have gone."""
        for client in self.clients:
            client.session.lost()
        await self.context.hub.settle()
        hub = self.context.hub
        assert (hub.num_clients, hub.subscribers(), hub._feeds) == (0, {}, {})
        assert self.broker._subscribed == set()
        for channel in CHANNELS:
            assert await self.context.presence.fetch(channel) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    concurrency=st.sampled_from([0, 4]),
    at_connect=st.lists(
        st.lists(channels, unique=True, max_size=2), min_size=2, max_size=2
    ),
    turns=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    steps=st.lists(steps, max_size=14),
)
async def test_any_interleaving(
    concurrency: int,
    at_connect: list[list[str]],
    turns: list[int],
    steps: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Positions follow each other, presence is true, and no ghost stays."""
    caplog.clear()
    scene = Scene(concurrency, turns)
    await scene.play(at_connect, steps)
    scene.check_subscriptions()
    await scene.check_presence()
    await scene.check_delivery()
    await scene.check_end()
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
