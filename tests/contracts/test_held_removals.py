"""The contract of removals beyond a limit, held by every device store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.support.clock import MovedClock
from tests.support.registries import RegistryPlace

from tocsin.core.device import (
    DeadToken,
    DeviceFilter,
    Registration,
    RemovedFilter,
    RemovedGroup,
)
from tocsin.core.removals import Removal, RemovalGuard, RemovalLimit

HOUR_MS = 3_600_000
LIMIT = RemovalLimit(max_share=0.2, window_ms=HOUR_MS, least=3)
ALL = RemovedFilter()


class HeldCase:
    """A registry with devices, and verdicts that call them dead."""

    def __init__(self, registry: RegistryPlace) -> None:
        self.clock = MovedClock()
        self.devices = registry.devices(self.clock)
        self.verdicts = registry.verdicts(self.clock)
        self.ids: dict[str, list[str]] = {}

    async def register(self, count: int, integration: str = "") -> None:
        self.ids[integration] = [
            await self.devices.register(
                Registration(
                    "fcm", f"{integration}-t{n}", "android", integration=integration
                )
            )
            for n in range(count)
        ]
        self.clock.move_ms(1000)

    def said(
        self, numbers: Sequence[int], integration: str = "", push_id: str = "p1"
    ) -> list[DeadToken]:
        now_ms, ids = self.clock.now_ms(), self.ids[integration]
        return [
            DeadToken(
                ids[n], f"{integration}-t{n}", now_ms, "fcm: unregistered", push_id
            )
            for n in numbers
        ]

    async def remove(
        self, numbers: Sequence[int], integration: str = "", limit: RemovalLimit = LIMIT
    ) -> Removal:
        guard = RemovalGuard("fcm", integration or "fcm", limit)
        done = await self.devices.remove_dead(
            self.said(numbers, integration), guard=guard
        )
        self.clock.move_ms(1000)
        return done

    async def held(self) -> int:
        return sum(group.count for group in await self.devices.count_held(ALL))

    async def targeted(self) -> int:
        page = await self.devices.fetch_targets(
            DeviceFilter(), provider="fcm", cursor="", limit=1000
        )
        return len(page.recipients)


@pytest.fixture
def case(registry: RegistryPlace) -> HeldCase:
    return HeldCase(registry)


async def test_a_fifth_may_go_in_an_hour(case: HeldCase) -> None:
    """What goes beyond it waits for a person, and is sent to until then."""
    await case.register(50)
    first = await case.remove(range(8))
    assert (len(first.removed), first.held) == (8, [])
    second = await case.remove(range(8, 20))
    assert sorted(second.removed) == sorted(case.ids[""][8:10])
    assert sorted(second.held) == sorted(case.ids[""][10:20])
    assert await case.devices.count_held(ALL) == [
        RemovedGroup("fcm", "", "fcm: unregistered", 10)
    ]
    assert await case.targeted() == 40


async def test_few_are_never_too_many(case: HeldCase) -> None:
    """A small integration is kept clean too."""
    await case.register(4)
    done = await case.remove(range(3))
    assert (len(done.removed), done.held) == (3, [])
    assert len((await case.remove([3])).held) == 1


async def test_the_window_slides(case: HeldCase) -> None:
    """After an hour as many may go again."""
    await case.register(50)
    assert len((await case.remove(range(10))).removed) == 10
    case.clock.move_ms(HOUR_MS * 3 // 4)
    assert len((await case.remove([10], limit=RemovalLimit(0.2, HOUR_MS, 3))).held) == 1
    await case.devices.release_held(ALL, limit=10)
    case.clock.move_ms(HOUR_MS // 2)
    assert len((await case.remove(range(10, 18))).removed) == 8


async def test_what_is_held_is_decided_by_a_person_alone(case: HeldCase) -> None:
    """The same verdict again changes nothing, and others join, however late."""
    await case.register(20)
    assert len((await case.remove(range(6))).held) == 2
    case.clock.move_ms(10 * HOUR_MS)
    again = await case.remove(range(4, 8))
    assert again.removed == []
    assert sorted(again.held) == sorted(case.ids[""][6:8])
    assert await case.held() == 4


async def test_a_person_is_told_once_an_hour(case: HeldCase) -> None:
    """However many batches find more."""
    await case.register(20)
    alarms = [(await case.remove([n])).is_alarm for n in range(8)]
    assert alarms == [False] * 4 + [True] + [False] * 3
    case.clock.move_ms(HOUR_MS)
    assert (await case.remove([8])).is_alarm


async def test_integrations_have_a_limit_each(case: HeldCase) -> None:
    """One that is broken does not keep another from being cleaned."""
    await case.register(20)
    await case.register(20, "shop")
    assert len((await case.remove(range(8))).held) == 4
    done = await case.remove(range(4), "shop")
    assert (len(done.removed), done.held) == (4, [])


async def test_an_approved_device_is_removed(case: HeldCase) -> None:
    """For the reason that it was held for, and it can be restored."""
    await case.register(20)
    await case.remove(range(6))
    gone = await case.devices.approve_held(ALL, limit=1)
    gone += await case.devices.approve_held(ALL, limit=10)
    assert sorted(gone) == sorted(case.ids[""][4:6])
    assert await case.devices.approve_held(ALL, limit=10) == []
    [group] = await case.devices.count_removed(ALL)
    assert (group.reason, group.count) == ("fcm: unregistered", 6)
    assert await case.targeted() == 14
    assert len(await case.devices.restore_removed(ALL, limit=10)) == 6
    assert await case.held() == 0


async def test_a_released_device_stays(case: HeldCase) -> None:
    """Until a later verdict finds it again."""
    await case.register(20)
    await case.remove(range(6))
    some = RemovedFilter(ids=(case.ids[""][4],))
    assert await case.devices.release_held(some, limit=10) == [case.ids[""][4]]
    assert await case.held() == 1
    assert await case.devices.release_held(ALL, limit=10) == [case.ids[""][5]]
    assert (await case.held(), await case.targeted()) == (0, 16)
    assert len((await case.remove([4])).held) == 1


async def test_a_registration_or_a_delivery_ends_a_hold(case: HeldCase) -> None:
    """Both prove that the device lives."""
    await case.register(20)
    await case.remove(range(8))
    held = case.ids[""][4:8]
    await case.devices.register(Registration("fcm", "-t4", "android", id=held[0]))
    assert await case.held() == 3
    assert held[1] in await case.verdicts.fetch_suspects("fcm", "fcm", limit=10)
    await case.verdicts.acquit(held[1:3])
    assert await case.held() == 1
    assert await case.devices.approve_held(ALL, limit=10) == held[3:]


async def test_held_devices_are_chosen_like_removed_ones(case: HeldCase) -> None:
    """By integration, reason and time."""
    await case.register(20, "shop")
    now_ms = case.clock.now_ms()
    await case.remove(range(8), "shop")
    for filter, count in (
        (RemovedFilter(integrations=("shop",), reasons=("unregistered",)), 4),
        (RemovedFilter(reasons=("fcm: unregistered",), providers=("fcm",)), 4),
        (RemovedFilter(integrations=("fcm",)), 0),
        (RemovedFilter(reasons=("inactive",)), 0),
        (RemovedFilter(since_ms=now_ms), 4),
        (RemovedFilter(until_ms=now_ms), 0),
    ):
        groups = await case.devices.count_held(filter)
        assert sum(group.count for group in groups) == count, filter


async def test_guarded_verdicts_share_the_limit(case: HeldCase) -> None:
    """A second one removes no more than a definite one may."""
    await case.register(20)
    guard = RemovalGuard("fcm", "fcm", LIMIT)
    numbers = range(8)
    first = case.said(numbers, push_id="p1")
    done = await case.verdicts.suspect(first, delivered=0, proof=1, guard=guard)
    assert done == Removal([], [])
    case.clock.move_ms(1000)
    same = case.said(numbers, push_id="p1")
    done = await case.verdicts.suspect(same, delivered=5, proof=1, guard=guard)
    assert done == Removal([], []), "a retry of the same send confirms nothing"
    later = case.said(numbers, push_id="p2")
    done = await case.verdicts.suspect(later, delivered=5, proof=1, guard=guard)
    assert (len(done.removed), len(done.held)) == (4, 4)


async def test_a_share_of_one_holds_nothing(case: HeldCase) -> None:
    """For who wants every verdict to count; without a guard none is held either."""
    await case.register(10)
    done = await case.remove(range(9), limit=RemovalLimit(1.0, HOUR_MS, 0))
    assert (len(done.removed), done.held) == (9, [])
    assert len((await case.devices.remove_dead(case.said([9]))).removed) == 1


async def test_many_workers_at_once_remove_no_more(case: HeldCase) -> None:
    """All of them share one limit."""
    await case.register(100)
    done = await asyncio.gather(
        *(case.remove(range(n, n + 5)) for n in range(0, 60, 5))
    )
    assert sum(len(each.removed) for each in done) == 20
    assert sum(len(each.held) for each in done) == 40
    assert sum(each.is_alarm for each in done) == 1
    assert (await case.held(), await case.targeted()) == (40, 80)
