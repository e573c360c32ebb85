"""The contract of `VerdictStore`, held by every implementation."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update
from tests.support.clock import MovedClock
from tests.support.registries import DATABASES, RegistryPlace

from tocsin.core.device import (
    DeadToken,
    DeviceFilter,
    PageRequest,
    Registration,
    RemovedFilter,
)
from tocsin.core.ports.devices import DeviceStore, RecentVerdicts, VerdictStore
from tocsin.storage import tables

KEPT = 200
DAY_MS = 86_400_000
PROOF = 10


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def store(registry: RegistryPlace, clock: MovedClock) -> VerdictStore:
    return registry.verdicts(clock)


@pytest.fixture
def devices(registry: RegistryPlace, clock: MovedClock) -> DeviceStore:
    return registry.devices(clock)


async def note(store: VerdictStore, letters: str) -> RecentVerdicts:
    return await store.note("fcm", "fcm", letters, delivered=letters.count("d"))


async def test_answers_of_all_workers_are_one_history(store: VerdictStore) -> None:
    """In order, by credential; an empty note only asks."""
    assert await note(store, "dds") == RecentVerdicts("dds", 2)
    assert await note(store, "u") == RecentVerdicts("ddsu", 2)
    assert await store.note("fcm", "shop", "s", delivered=0) == RecentVerdicts("s", 0)
    assert await note(store, "") == RecentVerdicts("ddsu", 2)


async def test_only_the_last_answers_are_kept(store: VerdictStore) -> None:
    """Deliveries are counted all the same, also those beyond the letters."""
    assert (await note(store, "u" * (KEPT - 1))).letters == "u" * (KEPT - 1)
    assert (await note(store, "ds")).letters == "u" * (KEPT - 2) + "ds"
    recent = await store.note("fcm", "fcm", "d" * 3 * KEPT, delivered=5 * KEPT)
    assert recent == RecentVerdicts("d" * KEPT, 5 * KEPT + 1)


async def test_a_first_note_may_be_long(store: VerdictStore) -> None:
    """What is kept of it is its end."""
    assert (await note(store, "s" + "d" * KEPT)).letters == "d" * KEPT


async def test_a_day_of_silence_is_forgotten(
    store: VerdictStore, clock: MovedClock
) -> None:
    """Nobody knows what became of the credential meanwhile."""
    await note(store, "d" * 50)
    clock.move_ms(DAY_MS)
    assert (await note(store, "s")).letters == "d" * 50 + "s"
    clock.move_ms(DAY_MS + 1)
    assert await note(store, "s") == RecentVerdicts("s", 50)


async def test_notes_at_once_all_count(store: VerdictStore) -> None:
    """Workers that answer at the same moment lose nothing of each other."""
    await asyncio.gather(*(note(store, "ds") for _ in range(20)))
    recent = await note(store, "")
    assert (sorted(recent.letters), recent.delivered) == (
        ["d"] * 20 + ["s"] * 20,
        20,
    )


class Accused:
    """One device, and verdicts about it."""

    def __init__(
        self, store: VerdictStore, devices: DeviceStore, clock: MovedClock
    ) -> None:
        self.store, self.devices, self.clock = store, devices, clock
        self.id = ""

    async def register(self, integration: str = "") -> None:
        self.id = await self.devices.register(
            Registration("fcm", "t", "android", id=self.id, integration=integration)
        )

    async def suspect(self, delivered: int, token: str = "t") -> bool:
        """Whether a verdict of a send that begins now removes it."""
        self.clock.move_ms(1000)
        verdict = DeadToken(self.id, token, self.clock.now_ms(), "fcm: mismatch")
        done = await self.store.suspect([verdict], delivered=delivered, proof=PROOF)
        gone = done.removed
        assert gone in ([], [self.id])
        return bool(gone)

    async def marked(self, integration: str = "fcm") -> bool:
        found = await self.store.fetch_suspects("fcm", integration, limit=5)
        assert found in (set(), {self.id})
        return bool(found)


@pytest.fixture
async def accused(
    store: VerdictStore, devices: DeviceStore, clock: MovedClock
) -> Accused:
    accused = Accused(store, devices, clock)
    await accused.register()
    return accused


async def test_the_first_verdict_only_marks(accused: Accused) -> None:
    """The second removes, once the credential has delivered to others since."""
    assert not await accused.suspect(delivered=100)
    assert await accused.marked()
    assert not await accused.suspect(delivered=100 + PROOF - 1)
    assert await accused.suspect(delivered=100 + PROOF)
    assert not await accused.suspect(delivered=1000), "it is gone"
    assert not await accused.marked()
    groups = await accused.devices.count_removed(RemovedFilter())
    assert [(group.reason, group.count) for group in groups] == [("fcm: mismatch", 1)]


async def test_one_send_is_one_verdict(accused: Accused, clock: MovedClock) -> None:
    """A batch that began before the mark was made proves nothing more."""
    began_ms = clock.now_ms() + 500
    assert not await accused.suspect(delivered=0)
    again = DeadToken(accused.id, "t", began_ms, "fcm: mismatch")
    store = accused.store
    assert not (await store.suspect([again], delivered=1000, proof=PROOF)).removed
    assert await accused.suspect(delivered=1000)


async def test_a_registration_takes_the_mark_away(accused: Accused) -> None:
    """Whoever registers again proves that the token lives."""
    await accused.suspect(delivered=0)
    await accused.register()
    assert not await accused.marked()
    assert not await accused.suspect(delivered=1000), "the first one since"


@pytest.mark.parametrize("registry", DATABASES, indirect=True)
async def test_a_mark_that_is_older_than_the_registration_counts_nothing(
    accused: Accused, registry: RegistryPlace
) -> None:
    """A server of an older release registers without taking it away."""
    await accused.suspect(delivered=0)
    accused.clock.move_ms(1000)
    registered = update(tables.devices).values(registered_at_ms=accused.clock.now_ms())
    await registry.database.write(lambda connection: connection.execute(registered))
    assert not await accused.suspect(delivered=1000), "the first one since"
    assert await accused.suspect(delivered=2000)


async def test_a_delivery_takes_the_mark_away(accused: Accused) -> None:
    """Of the devices that got something, and of no others."""
    await accused.suspect(delivered=0)
    await accused.store.acquit(["somebody-else"])
    assert await accused.marked()
    await accused.store.acquit([accused.id])
    assert not await accused.marked()
    assert not await accused.suspect(delivered=1000)


async def test_a_storm_takes_all_marks_of_its_credential(accused: Accused) -> None:
    """Another credential's stay."""
    await accused.register(integration="shop")
    await accused.suspect(delivered=0)
    assert await accused.marked("shop")
    assert not await accused.marked("fcm")
    await accused.store.acquit_all("fcm", "fcm")
    assert await accused.marked("shop")
    await accused.store.acquit_all("fcm", "shop")
    assert not await accused.marked("shop")


async def test_a_verdict_about_another_token_marks_nothing(accused: Accused) -> None:
    """The device holds a new one by now."""
    await accused.suspect(delivered=0, token="old")
    assert not await accused.marked()


async def test_a_restored_device_is_not_suspected(accused: Accused) -> None:
    """Somebody brought it back: it needs two verdicts again."""
    await accused.suspect(delivered=0)
    assert await accused.suspect(delivered=PROOF)
    assert await accused.devices.restore_removed(RemovedFilter(), limit=5)
    assert not await accused.suspect(delivered=1000)
    page = await accused.devices.fetch_page(DeviceFilter(), PageRequest())
    assert [device.id for device in page.items] == [accused.id]


async def test_many_verdicts_in_one_call(
    store: VerdictStore, devices: DeviceStore, clock: MovedClock
) -> None:
    """Some marked, some removed, each for itself; none is no call."""
    assert not (await store.suspect([], delivered=0, proof=PROOF)).removed
    ids = [
        await devices.register(Registration("fcm", f"t{n}", "android"))
        for n in range(3)
    ]

    def verdicts(*numbers: int) -> list[DeadToken]:
        clock.move_ms(1000)
        return [DeadToken(ids[n], f"t{n}", clock.now_ms(), "fcm: x") for n in numbers]

    first = await store.suspect(verdicts(0, 1), delivered=0, proof=PROOF)
    assert first.removed == []
    gone = await store.suspect(verdicts(1, 2), delivered=PROOF, proof=PROOF)
    assert gone.removed == [ids[1]]
    assert await store.fetch_suspects("fcm", "fcm", limit=5) == {ids[0], ids[2]}
    assert len(await store.fetch_suspects("fcm", "fcm", limit=1)) == 1
