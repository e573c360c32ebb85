"""Who is spared a push: the second look, and patience with whoever does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from tests.support.jobs import ManualClock

from tocsin.broker.presence_memory import MemoryPresence
from tocsin.broker.reached_memory import MemoryReached
from tocsin.core.channel import ClientInfo
from tocsin.core.device import DeviceFilter
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.online import Stage
from tocsin.core.push import Expand, ExpandJob, OnlineCheck, RecipientType
from tocsin.delivery.online import (
    KEPT_S,
    PATIENCE_MS,
    PUBLISH_GRACE_MS,
    OnlineUsers,
    PutOff,
)

CHECK = OnlineCheck("chat", ManualClock().now_ms())
JOB = ExpandJob(
    id="j",
    push_id="p",
    provider="fcm",
    work=Expand(DeviceFilter(topics=("t",)), online=CHECK),
    recipient_type=RecipientType.FILTER,
    accepted_at_ms=0,
)


class Presence(MemoryPresence):
    """People in one channel, beside somebody without a name; it may be away."""

    away = False
    looks = 0

    async def come(self, *users: str) -> None:
        """Exactly these are there from now on."""
        for client in await super().fetch("chat"):
            await self.remove("chat", client, "")
        for number, user in enumerate([*users, ""]):
            await self.add("chat", ClientInfo(user, f"c{number}"))

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.away:
            raise BrokerUnavailable("away")
        return await super().fetch(channel)


class Reached(MemoryReached):
    """The store in memory, which may be away."""

    away = False

    async def add(
        self, push_id: str, users: Collection[str], stage: Stage, *, ttl_s: int
    ) -> None:
        self._check()
        await super().add(push_id, users, stage, ttl_s=ttl_s)

    async def fetch_stage(self, push_id: str, *, ttl_s: int) -> Stage:
        self._check()
        return await super().fetch_stage(push_id, ttl_s=ttl_s)

    async def find(
        self, push_id: str, users: Collection[str], *, ttl_s: int
    ) -> frozenset[str]:
        self._check()
        return await super().find(push_id, users, ttl_s=ttl_s)

    def _check(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")


class Bench:
    """A worker's view of one channel."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.presence = Presence()
        self.reached = Reached(self.clock)
        self.online = OnlineUsers(self.presence, self.reached, self.clock)

    async def publish(self, *users: str) -> None:
        await self.reached.add("p", users, Stage.PUBLISHED, ttl_s=KEPT_S)

    async def spared(self, *users: str) -> set[str]:
        assert await self.online.decide(JOB, CHECK)
        found = await self.online.find(JOB, CHECK, users)
        assert found is not None
        return set(found)


async def test_who_was_there_at_either_look_is_spared() -> None:
    """Who left in between and who came in between; nobody else."""
    bench = Bench()
    await bench.publish("left")
    await bench.presence.come("came")
    assert await bench.spared("left", "came", "away", "") == {"left", "came"}


async def test_the_second_look_is_the_last() -> None:
    """Pages and providers that come later decide nothing anew."""
    bench = Bench()
    await bench.publish()
    await bench.presence.come("anna")
    assert await bench.spared("anna") == {"anna"}
    await bench.presence.come("ben")
    bench.clock.advance(KEPT_S - 1)
    assert await bench.spared("anna", "ben") == {"anna"}
    bench.clock.advance(KEPT_S - 1)
    assert await bench.spared("anna") == {"anna"}
    assert bench.presence.looks == 1


async def test_walks_that_begin_together_agree() -> None:
    """Providers have a walk each; who is found by either is spared by both."""
    bench = Bench()
    await bench.publish("left")
    await bench.presence.come("anna")
    other = OnlineUsers(bench.presence, bench.reached, bench.clock)
    walks = [replace(JOB, id=name, provider=name) for name in ("fcm", "apns")]
    decided = await asyncio.gather(
        bench.online.decide(walks[0], CHECK), other.decide(walks[1], CHECK)
    )
    assert list(decided) == [True, True]
    await bench.presence.come("ben")
    for online, job in zip((bench.online, other), walks, strict=True):
        assert await online.decide(job, CHECK)
        found = await online.find(job, CHECK, ["anna", "ben", "left"])
        assert found == frozenset({"anna", "left"})


async def test_a_walk_that_stands_keeps_what_is_decided() -> None:
    """A walk far ahead of the sending decides at every turn and reads no page."""
    bench = Bench()
    await bench.publish("anna")
    for _ in range(3):
        assert await bench.online.decide(JOB, CHECK)
        bench.clock.advance(KEPT_S - 1)
    assert await bench.spared("anna") == {"anna"}


async def test_a_publisher_has_time_to_publish() -> None:
    """Nothing is known yet: the job comes back as it is, until something is."""
    bench = Bench()
    with pytest.raises(PutOff) as later:
        await bench.online.decide(JOB, CHECK)
    assert later.value.job == JOB
    now_ms = bench.clock.now_ms()
    assert now_ms < later.value.due_ms < now_ms + PUBLISH_GRACE_MS
    await bench.publish("anna")
    assert await bench.spared("anna") == {"anna"}


async def test_without_a_publication_nobody_is_spared() -> None:
    """Whoever is in the channel: what they should have seen was not published."""
    bench = Bench()
    await bench.presence.come("anna")
    bench.clock.advance(PUBLISH_GRACE_MS / 1000)
    assert await bench.spared("anna") == set()
    assert await bench.reached.fetch_stage("p", ttl_s=60) is Stage.DECIDED


async def test_waiting_for_the_publisher_ends_before_the_push_expires() -> None:
    """Else waiting would lose it."""
    bench = Bench()
    job = replace(JOB, expire_at_ms=bench.clock.now_ms() + 3000)
    with pytest.raises(PutOff):
        await bench.online.decide(job, CHECK)
    bench.clock.advance(2)
    assert await bench.online.decide(job, CHECK)


async def test_users_beside_the_filter_are_not_kept() -> None:
    """A channel of thousands costs nothing where the filter names two users."""
    bench = Bench()
    await bench.publish()
    await bench.presence.come("anna", "eve")
    work = Expand(DeviceFilter(users=("anna", "ben")), online=CHECK)
    assert await bench.online.decide(replace(JOB, work=work), CHECK)
    assert await bench.online.find(JOB, CHECK, ["anna", "eve"]) == frozenset({"anna"})


async def test_a_page_without_users_asks_nobody() -> None:
    """Devices without a user are never spared."""
    bench = Bench()
    await bench.publish("")
    bench.reached.away = True
    assert await bench.online.find(JOB, CHECK, ["", ""]) == frozenset()


@pytest.mark.parametrize("what", ["presence", "reached"])
async def test_an_engine_that_is_away_is_waited_for(what: str) -> None:
    """The job says since when; when the engine is back all is as usual."""
    bench = Bench()
    await bench.publish("anna")
    away = bench.presence if what == "presence" else bench.reached
    away.away = True
    started_ms = bench.clock.now_ms()
    job = JOB
    for _ in range(5):
        with pytest.raises(PutOff) as later:
            await bench.online.decide(job, CHECK)
        job = later.value.job
        assert job == replace(JOB, first_try_at_ms=started_ms)
        assert later.value.due_ms > bench.clock.now_ms()
        bench.clock.advance(1)
    away.away = False
    assert await bench.spared("anna") == {"anna"}


@pytest.mark.parametrize("what", ["presence", "reached"])
async def test_patience_ends(what: str) -> None:
    """Then the push goes to those of whom nothing can be known."""
    bench = Bench()
    await bench.publish("anna")
    away = bench.presence if what == "presence" else bench.reached
    away.away = True
    job = replace(JOB, first_try_at_ms=bench.clock.now_ms() - PATIENCE_MS)
    assert not await bench.online.decide(job, CHECK)
    found = await bench.online.find(job, CHECK, ["anna"])
    assert found == ({"anna"} if what == "presence" else None)


async def test_patience_is_one_for_both_questions() -> None:
    """An engine that answers one and not the other holds no page for ever."""
    bench = Bench()
    await bench.publish("anna")
    job = replace(JOB, first_try_at_ms=bench.clock.now_ms())
    assert await bench.online.decide(job, CHECK)
    bench.reached.away = True
    with pytest.raises(PutOff) as later:
        await bench.online.find(job, CHECK, ["anna"])
    assert later.value.job == job


async def test_patience_ends_before_the_push_expires() -> None:
    """Else waiting would lose it."""
    bench = Bench()
    bench.reached.away = True
    job = replace(JOB, expire_at_ms=bench.clock.now_ms() + 5000)
    with pytest.raises(PutOff):
        await bench.online.decide(job, CHECK)
    bench.clock.advance(4)
    assert not await bench.online.decide(job, CHECK)
