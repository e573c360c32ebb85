"""Redis gone and back: errors meanwhile, a gap told after, and all goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.brokers import Heard, running_broker, until
from tests.support.redis_server import RedisServer, start_redis

from tocsin.core.channel import PublishOptions
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.channels import Broker


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, to be killed."""
    server = start_redis(tmp_path, appendonly=True)
    yield server
    server.stop()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def broker(own_redis: RedisServer, heard: Heard) -> AsyncIterator[Broker]:
    async with running_broker([own_redis.address], heard) as broker:
        yield broker


async def test_a_gap_is_told_when_redis_is_back(
    broker: Broker, own_redis: RedisServer, heard: Heard
) -> None:
    """Subscriptions return by themselves, and listeners know to check positions."""
    await broker.subscribe("c")
    await broker.publish("c", b"before", PublishOptions())
    await until(lambda: heard.data() == [b"before"])
    assert heard.gaps == 0
    own_redis.kill()
    with pytest.raises(BrokerUnavailable):
        await broker.publish("c", b"lost", PublishOptions())
    with pytest.raises(BrokerUnavailable):
        await broker.check()
    own_redis.start_again()
    await until(lambda: heard.gaps >= 1, deadline_s=20)
    await broker.publish("c", b"after", PublishOptions())
    await until(lambda: b"after" in heard.data())
    assert heard.data() == [b"before", b"after"]


async def test_a_channel_subscribed_while_redis_is_away_is_refused(
    broker: Broker, own_redis: RedisServer, heard: Heard
) -> None:
    """The caller is told, and may try again when it is back."""
    own_redis.kill()
    with pytest.raises(BrokerUnavailable):
        await broker.subscribe("c")
    own_redis.start_again()
    await until(lambda: heard.gaps >= 1, deadline_s=20)
    await broker.subscribe("c")
    await broker.publish("c", b"1", PublishOptions())
    await until(lambda: heard.data() == [b"1"])
