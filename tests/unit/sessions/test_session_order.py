"""With any `client.concurrency`, replies are those of one command after the other."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from tests.support.sessions import SessionClient

from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.core.channel import ClientInfo, PublishOptions, PublishResult
from tocsin.core.control import SubscribeCommand, Target, UnsubscribeCommand
from tocsin.core.errors import InternalError
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
Pause = Callable[[], Awaitable[None]]
KINDS = (
    *("subscribe", "subscribe", "unsubscribe", "unsubscribe", "publish", "publish"),
    *("presence", "presence_stats", "by server", "out by server"),
)


def pauses(seed: int) -> Pause:
    """Some turns of the loop, or none: a store that answers when it likes."""
    chance = random.Random(seed)

    async def pause() -> None:
        for _ in range(chance.choice((0, 0, 1, 2, 5))):
            await asyncio.sleep(0)

    return pause


class SlowBroker(MemoryBroker):
    """Takes publications in order, as all do; some of them fail."""

    def __init__(self, pause: Pause) -> None:
        super().__init__()
        self._pause = pause

    async def subscribe(self, channel: str) -> None:
        await self._pause()
        await super().subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        await self._pause()
        await super().unsubscribe(channel)

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        if data == b"0":
            await self._pause()
            raise InternalError("it is away")
        result = await super().publish(channel, data, options)
        await self._pause()
        return result


class SlowPresence(MemoryPresence):
    """Answers after a while."""

    def __init__(self, pause: Pause) -> None:
        super().__init__()
        self._pause = pause

    async def add(self, channel: str, info: ClientInfo) -> None:
        await self._pause()
        await super().add(channel, info)

    async def remove(self, channel: str, client: str, user: str) -> None:
        await self._pause()
        await super().remove(channel, client, user)

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        await self._pause()
        return await super().fetch(channel)


async def replies(node: Node, seed: int, concurrency: int) -> list[dict[str, Any]]:
    """What the commands of this seed are answered, by id; and nothing is left."""
    chance, pause = random.Random(seed), pauses(seed + concurrency)
    context = node(
        SessionSettings(insecure=True, concurrency=concurrency),
        broker=SlowBroker(pause),
        presence=SlowPresence(pause),
    )
    client = SessionClient(context)
    await client.connect()
    target = Target(client=client.session.client)
    for number in range(2, 102):
        kind, channel = chance.choice(KINDS), chance.choice("abc")
        if kind == "by server":
            context.hub.run(SubscribeCommand(target, channel))
        elif kind == "out by server":
            context.hub.run(UnsubscribeCommand(target, channel))
        else:
            request: dict[str, Any] = {"channel": channel}
            if kind == "publish":
                request["data"] = chance.randrange(3)
            command = {"id": number, kind: request}
            client.session.receive(json.dumps(command).encode())
        if chance.random() < 0.1:
            await asyncio.sleep(0)
    found = [each for each in await client.take() if "id" in each]
    assert client.closed is None
    assert client.session._inbox is None
    assert client.session._ordered is None
    assert context.hub.num_subs == len(client.session.subscriptions)
    text = json.dumps(sorted(found, key=lambda each: int(each["id"])))
    return list(json.loads(text.replace(client.session.client, "me")))


@pytest.mark.parametrize("seed", range(10))
async def test_replies_are_those_of_one_after_the_other(node: Node, seed: int) -> None:
    """Whatever waits, fails, or is ordered by the server in between."""
    expected = await replies(node, seed, 1)
    assert len({each["id"] for each in expected}) > 50
    for concurrency in (0, 2, 8):
        assert await replies(node, seed, concurrency) == expected


SUBSCRIBE = {"subscribe": {"channel": "a"}}
PUBLISH = {"publish": {"channel": "a", "data": {}}}


class GatedBroker(MemoryBroker):
    """Holds publications up, and counts how many are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.now = self.most = 0

    async def subscribe(self, channel: str) -> None:
        for _ in range(5):  # so that what follows has to wait for it
            await asyncio.sleep(0)
        await super().subscribe(channel)

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1
        return await super().publish(channel, data, options)


def _frame(first_id: int, *orders: Mapping[str, Any]) -> bytes:
    lines = [json.dumps({"id": id, **each}) for id, each in enumerate(orders, first_id)]
    return "\n".join(lines).encode()


async def _turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("concurrency", [1, 2, 3, 8])
async def test_publications_behind_a_subscribe_go_together(
    node: Node, concurrency: int
) -> None:
    """As many as the setting allows: those that waited in their line as well."""
    broker = GatedBroker()
    settings = SessionSettings(insecure=True, concurrency=concurrency)
    client = SessionClient(node(settings, broker=broker))
    await client.connect()
    client.session.receive(_frame(10, SUBSCRIBE, *[PUBLISH] * 4))
    await _turns()
    assert broker.now == min(concurrency, 4)
    broker.gate.set()
    replies = [each["id"] for each in await client.take() if "id" in each]
    assert sorted(replies) == [10, 11, 12, 13, 14]
    assert broker.most == min(concurrency, 4)


async def test_those_that_began_beside_others_go_on_with_all_the_rest(
    node: Node,
) -> None:
    """No command is left over when those that came first have ended."""
    broker = GatedBroker()
    settings = SessionSettings(insecure=True, concurrency=2)
    client = SessionClient(node(settings, broker=broker))
    await client.connect()
    unsubscribe = {"unsubscribe": {"channel": "a"}}
    frame = _frame(10, SUBSCRIBE, PUBLISH, PUBLISH, unsubscribe, PUBLISH, PUBLISH)
    client.session.receive(frame)
    await _turns()
    assert broker.now == 2
    broker.gate.set()
    broker.gate.clear()
    await _turns()
    assert broker.now == 2
    client.session.receive(_frame(16, {"presence": {"channel": "b"}}))
    await _turns()
    broker.gate.set()
    replies = [each["id"] for each in await client.take() if "id" in each]
    assert sorted(replies) == [10, 11, 12, 13, 14, 15, 16]
