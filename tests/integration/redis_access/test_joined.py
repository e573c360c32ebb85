from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from tests.support.brokers import Heard, running_broker

from tocsin.broker.redis_shard import load_script
from tocsin.core.channel import PublishOptions
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.channels import Broker
from tocsin.redis_access.joined import AT_ONCE, JoinedScript

KEPT = PublishOptions(history_size=10, history_ttl_s=60)


def away(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(str(error))


@pytest.fixture
async def broker(redis_address: str) -> AsyncIterator[Broker]:
    async with running_broker([redis_address], Heard()) as broker:
        yield broker


@pytest.fixture
async def client(redis_address: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(f"redis://{redis_address}")
    yield client
    await client.aclose()


async def test_publications_at_once_keep_the_order_of_the_calls(
    broker: Broker,
) -> None:
    """More than fit into a round trip get their offsets in the order they came."""
    number = 2 * AT_ONCE + 1
    results = await asyncio.gather(
        *(broker.publish("c", b"%d" % each, KEPT) for each in range(number))
    )
    offsets = [result.position.offset for result in results]
    assert offsets == list(range(1, number + 1))


async def test_an_error_is_only_of_its_own_call(broker: Broker, client: Redis) -> None:
    """A channel that Redis refuses to publish to fails nobody else's publish."""
    await client.set("centrifugo.stream.meta.broken", "no hash")
    results = await asyncio.gather(
        *(broker.publish(name, b"1", KEPT) for name in ("a", "broken", "b")),
        return_exceptions=True,
    )
    assert [isinstance(each, BrokerUnavailable) for each in results] == [
        *(False, True, False)
    ]


async def test_what_cannot_be_sent_fails_its_caller(broker: Broker) -> None:
    """A name that is no text fails by itself, those beside it are published."""
    results = await asyncio.gather(
        *(broker.publish(name, b"1", KEPT) for name in ("a", "half \ud800", "b")),
        return_exceptions=True,
    )
    assert [isinstance(each, UnicodeEncodeError) for each in results] == [
        *(False, True, False)
    ]


async def test_a_server_that_forgot_the_script(broker: Broker, client: Redis) -> None:
    """After the scripts are flushed, calls that go together are all carried out."""
    await broker.publish("c", b"1", KEPT)
    await client.script_flush()
    results = await asyncio.gather(
        *(broker.publish("c", b"2", KEPT) for _ in range(3)),
    )
    assert [result.position.offset for result in results] == [2, 3, 4]


async def test_who_gives_up_harms_nobody(broker: Broker) -> None:
    """A caller that is cancelled leaves the others their answers."""
    first = asyncio.ensure_future(broker.publish("c", b"1", KEPT))
    second = asyncio.ensure_future(broker.publish("c", b"2", KEPT))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).position.offset in (1, 2)
    third = await broker.publish("c", b"3", KEPT)
    assert third.position.offset > (await second).position.offset


async def test_all_that_wait_are_told_of_a_silent_server() -> None:
    """They hear at once what the first waited for, however many they are."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        client = Redis.from_url(address, socket_timeout=0.2)
        script = JoinedScript(client, load_script("publish"), away)
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(script([], [number]) for number in range(100 * AT_ONCE)),
                return_exceptions=True,
            )
        assert {type(each) for each in results} == {BrokerUnavailable}
        await client.aclose()


async def test_a_close_tells_who_waits() -> None:
    """Nobody waits on for an answer of a script that was closed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        client = Redis.from_url(address)
        script = JoinedScript(client, load_script("publish"), away)
        waiting = asyncio.ensure_future(script([], []))
        await asyncio.sleep(0)
        await script.close()
        with pytest.raises(BrokerUnavailable):
            await waiting
        await script.close()
        await client.aclose()


async def test_a_mistake_of_ours_leaves_nobody_waiting(client: Redis) -> None:
    """An argument that is no value for Redis is told, and the next call is answered."""
    script = JoinedScript(client, load_script("publish"), away)
    calls = [script(["k"], [object()]), script(["k"], [object()])]
    async with asyncio.timeout(20):
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, Exception) for each in results)
        keys = ["k", "k.meta", "k.result"]
        args = ["c", b"1", 0, 0, 60, "epoch", 0, 0, "", 0]
        assert (await script(keys, args))[0] == b"0"
    await script.close()
