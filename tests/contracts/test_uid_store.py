"""The contract of `UidStore`, held by every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from tests.support.clock import MovedClock
from tests.support.jobs import ManualClock
from tests.support.memory_registry import MemoryUids

from tocsin.core.errors import Conflict
from tocsin.core.ports.sends import UID_TAKEN, UidClaim, UidStore
from tocsin.queue.redis_connection import connect
from tocsin.queue.uids import RedisUidStore
from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.uids import SqlUidStore


@dataclass(slots=True)
class Rig:
    """A store and the way to let `short_ttl_s` pass for it."""

    store: UidStore
    short_ttl_s: float
    let_pass: Callable[[], Awaitable[None]]
    purges_itself: bool


@pytest.fixture(params=["sqlite", "postgresql", "redis", "redis-cluster", "memory"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param.startswith("redis"):
        place = request.param.replace("-", "_")
        client = connect(request.getfixturevalue(f"{place}_address"))
        yield Rig(RedisUidStore(client), 0.05, lambda: asyncio.sleep(0.1), True)
        await client.aclose()
        return
    clock = MovedClock()

    async def let_pass() -> None:
        clock.move_ms(61_000)

    if request.param == "memory":
        yield Rig(MemoryUids(clock), 60, let_pass, False)
        return
    database: Database
    if request.param == "sqlite":
        database = open_sqlite(request.getfixturevalue("migrated_sqlite_path"))
    else:
        database = open_postgres(request.getfixturevalue("migrated_postgres_dsn"))
    yield Rig(SqlUidStore(database, clock=clock), 60, let_pass, False)
    await database.close()


async def test_first_claim_owns_the_uid(rig: Rig) -> None:
    """Who comes first gets its own push id, not yet accepted."""
    claim = await rig.store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=60)
    assert claim == UidClaim("p1", accepted=False)


async def test_repeat_gets_the_standing_claim(rig: Rig) -> None:
    """A second claim of the same content is told the first one's push id."""
    await rig.store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=60)
    again = await rig.store.claim("u", fingerprint=b"f", push_id="p2", ttl_s=60)
    assert again == UidClaim("p1", accepted=False)


async def test_a_claim_for_no_time_only_asks(rig: Rig) -> None:
    """A free uid stays free for any content; of one that stands it tells."""
    claim = await rig.store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=0)
    assert claim == UidClaim("p1", accepted=False)
    async with asyncio.timeout(10):
        while True:  # Redis forgets within a millisecond or two
            try:
                claim = await rig.store.claim(
                    "u", fingerprint=b"g", push_id="p2", ttl_s=60
                )
                break
            except Conflict:
                await asyncio.sleep(0.001)
    assert claim == UidClaim("p2", accepted=False)
    claim = await rig.store.claim("u", fingerprint=b"g", push_id="p3", ttl_s=0)
    assert claim == UidClaim("p2", accepted=False)
    again = await rig.store.claim("u", fingerprint=b"g", push_id="p4", ttl_s=60)
    assert again == UidClaim("p2", accepted=False)


async def test_confirmed_claim_reads_as_accepted(rig: Rig) -> None:
    """After `confirm` a repeat knows that the work is queued."""
    await rig.store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=60)
    await rig.store.confirm("u")
    again = await rig.store.claim("u", fingerprint=b"f", push_id="p2", ttl_s=60)
    assert again == UidClaim("p1", accepted=True)


async def test_a_confirmed_claim_tells_which_data_has_its_work(rig: Rig) -> None:
    """The last confirmation wins; a uid that is taken again has none."""
    store = rig.store
    await store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=rig.short_ttl_s)
    for epoch in ("a", "b"):
        await store.confirm("u", epoch=epoch)
        again = await store.claim("u", fingerprint=b"f", push_id="p2", ttl_s=60)
        if again.push_id == "p1":  # on Redis it may have ended by now
            assert again == UidClaim("p1", accepted=True, epoch=epoch)
    await rig.let_pass()
    await store.claim("u", fingerprint=b"g", push_id="p3", ttl_s=60)
    again = await store.claim("u", fingerprint=b"g", push_id="p4", ttl_s=60)
    assert again == UidClaim("p3", accepted=False)


async def test_other_content_is_a_conflict(rig: Rig) -> None:
    """The same uid with another fingerprint is refused and changes nothing."""
    await rig.store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=60)
    with pytest.raises(Conflict, match=UID_TAKEN):
        await rig.store.claim("u", fingerprint=b"other", push_id="p2", ttl_s=60)
    again = await rig.store.claim("u", fingerprint=b"f", push_id="p3", ttl_s=60)
    assert again.push_id == "p1"


async def test_uids_do_not_mix(rig: Rig) -> None:
    """Two uids have nothing to do with each other."""
    await rig.store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=60)
    other = await rig.store.claim("v", fingerprint=b"g", push_id="p2", ttl_s=60)
    assert other.push_id == "p2"


async def test_of_many_first_claims_exactly_one_wins(rig: Rig) -> None:
    """Claims of one uid at the same moment all learn the one winner."""
    claims = await asyncio.gather(
        *(
            rig.store.claim("u", fingerprint=b"f", push_id=f"p{n}", ttl_s=60)
            for n in range(12)
        )
    )
    assert len({claim.push_id for claim in claims}) == 1


async def test_expired_claim_may_be_taken_again(rig: Rig) -> None:
    """Over its ttl a uid is free, also for other content."""
    store = rig.store
    await store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=rig.short_ttl_s)
    await store.confirm("u")
    await rig.let_pass()
    claim = await store.claim("u", fingerprint=b"g", push_id="p2", ttl_s=60)
    assert claim == UidClaim("p2", accepted=False)


async def test_a_claim_ends_to_the_millisecond(migrated_database: Database) -> None:
    """At its end it is free and purged, just before it is neither (by our clock)."""
    clock = ManualClock()
    store = SqlUidStore(migrated_database, clock=clock)
    for uid in ("u", "v"):
        await store.claim(uid, fingerprint=b"f", push_id="p1", ttl_s=60)
    clock.value_ms += 59_999
    assert await store.purge_expired(limit=9) == 0
    again = await store.claim("u", fingerprint=b"f", push_id="p2", ttl_s=60)
    assert again == UidClaim("p1", accepted=False)
    clock.value_ms += 1
    again = await store.claim("u", fingerprint=b"g", push_id="p2", ttl_s=60)
    assert again == UidClaim("p2", accepted=False)
    assert await store.purge_expired(limit=9) == 1


async def test_redis_keeps_a_claim_under_a_name_of_its_own(redis_address: str) -> None:
    """For its ttl; other prefixes are other claims, and releases agree on the name."""
    client = connect(redis_address)
    store = RedisUidStore(client)
    await store.claim("u", fingerprint=b"f", push_id="p1", ttl_s=60)
    assert 59_000 < await client.pttl("tocsin:uid:u") <= 60_000
    other = RedisUidStore(client, prefix="other")
    claim = await other.claim("u", fingerprint=b"g", push_id="p2", ttl_s=60)
    assert claim == UidClaim("p2", accepted=False)
    await client.aclose()


async def test_purge_forgets_expired_claims_only(rig: Rig) -> None:
    """The purge takes at most `limit` claims, and none that still stands."""
    for name in ("a", "b", "c"):
        await rig.store.claim(
            name, fingerprint=b"f", push_id=name, ttl_s=rig.short_ttl_s
        )
    await rig.store.claim("d", fingerprint=b"f", push_id="d", ttl_s=1000)
    await rig.let_pass()
    counts = [await rig.store.purge_expired(limit=2) for _ in range(3)]
    assert counts == ([0, 0, 0] if rig.purges_itself else [2, 1, 0])
    standing = await rig.store.claim("d", fingerprint=b"f", push_id="x", ttl_s=60)
    assert standing.push_id == "d"
