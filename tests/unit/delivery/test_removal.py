"""What of a provider's word on tokens reaches the registry, and what a fault costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock
from tests.support.memory_registry import (
    MemoryDevices,
    MemoryRegistry,
    MemoryVerdicts,
)

from tocsin.core.device import DeadToken, Registration, RemovedFilter
from tocsin.core.errors import InternalError, NotAvailable
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.removals import Removal, RemovalGuard
from tocsin.delivery.credentials import ENOUGH, CredentialState
from tocsin.delivery.outages import QUIET_S, Outages
from tocsin.delivery.removal import (
    ASK_AGAIN_AFTER_MS,
    LOOK_AT_SUSPECTS_EVERY_MS,
    MOST_SUSPECTS,
    SHARE_EVERY_MS,
    DeviceRemoval,
)
from tocsin.telemetry.metrics import Metrics

SUSPECT = Outcome(Verdict.SUSPECT, "sender_id_mismatch")
AWAY = NotAvailable("the database is away")


class Devices(MemoryDevices):
    """Devices whose removals and restorations fail while `failure` stands."""

    failure: Exception | None = None

    async def remove_dead(
        self, dead: Sequence[DeadToken], *, guard: RemovalGuard | None = None
    ) -> Removal:
        if self.failure is not None:
            raise self.failure
        return await super().remove_dead(dead, guard=guard)

    async def restore_removed(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        if self.failure is not None:
            raise self.failure
        return await super().restore_removed(filter, limit=limit)


class Verdicts(MemoryVerdicts):
    """Verdicts of which any call can fail; counts who looked at suspects."""

    broken: str = ""

    def __init__(self, registry: MemoryRegistry, *, clock: ManualClock) -> None:
        super().__init__(registry, clock=clock)
        self.looks: list[int] = []

    async def suspect(
        self,
        accused: Sequence[DeadToken],
        *,
        delivered: int,
        proof: int,
        guard: RemovalGuard | None = None,
    ) -> Removal:
        self._fail("suspect")
        return await super().suspect(
            accused, delivered=delivered, proof=proof, guard=guard
        )

    async def fetch_suspects(
        self, provider: str, integration: str, *, limit: int
    ) -> set[str]:
        self._fail("fetch_suspects")
        self.looks.append(limit)
        return await super().fetch_suspects(provider, integration, limit=limit)

    async def acquit(self, ids: Collection[str]) -> None:
        self._fail("acquit")
        await super().acquit(ids)

    def _fail(self, call: str) -> None:
        if self.broken == call:
            raise AWAY


class World:
    """A removal around a registry with three devices, from before the send."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        registry = MemoryRegistry()
        self.devices = Devices(registry, clock=self.clock)
        self.verdicts = Verdicts(registry, clock=self.clock)
        self.metrics = Metrics()
        self.now_s = 0.0
        self.outages = Outages(lambda: self.now_s)
        self.removal = DeviceRemoval(
            self.devices, self.metrics, self.verdicts, self.outages
        )
        self.credential = CredentialState("fcm", "fcm")
        for number in range(3):
            registration = Registration("fcm", f"token-{number}", "android")
            self.devices.put(registration, f"d{number}")
        self.clock.advance(1)

    def said(self, *numbers: int) -> list[DeadToken]:
        now_ms = self.clock.now_ms()
        return [DeadToken(f"d{n}", f"token-{n}", now_ms, "fcm: code") for n in numbers]

    async def share(self, *, at_once: bool = True) -> bool:
        return await self.removal.share(
            self.credential, self.clock.now_ms(), at_once=at_once
        )

    def known(self) -> str:
        recent, _ = self.devices.registry.answers["fcm", "fcm"]
        return recent.letters


@pytest.fixture
def world() -> World:
    return World()


async def test_answers_are_told_once_though_what_follows_fails(world: World) -> None:
    """A registry that ends in mid-call has them already."""
    world.credential.note(DELIVERED, 0)
    world.verdicts.broken = "fetch_suspects"
    assert await world.share() is False
    world.verdicts.broken = ""
    world.clock.advance(ASK_AGAIN_AFTER_MS / 1000)
    world.credential.note(SUSPECT, 0)
    assert await world.share() is True
    assert world.known() == "ds"


async def test_a_registry_that_failed_is_left_alone_for_a_while(world: World) -> None:
    """To the millisecond, whoever asks."""
    world.verdicts.failure = AWAY
    world.credential.note(DELIVERED, 0)
    assert await world.share() is False
    world.verdicts.failure = None
    world.clock.value_ms += ASK_AGAIN_AFTER_MS - 1
    assert await world.share() is False
    assert world.verdicts.notes == 0
    world.clock.value_ms += 1
    assert await world.share() is True
    assert (world.verdicts.notes, world.known()) == (1, "d")


async def test_healthy_answers_wait_their_turn_and_are_no_doubt(world: World) -> None:
    """What was learnt a moment ago is known; a tenth of a second later it is asked."""
    for wait_ms, notes in ((0, 1), (SHARE_EVERY_MS - 1, 1), (1, 2)):
        world.clock.value_ms += wait_ms
        world.credential.note(DELIVERED, 0)
        assert await world.share(at_once=False) is True
        assert world.verdicts.notes == notes


async def test_marked_devices_are_looked_at_now_and_then(world: World) -> None:
    """At first, and then not with each answer."""
    for wait_ms, looks in ((0, 1), (LOOK_AT_SUSPECTS_EVERY_MS - 1, 1), (1, 2)):
        world.clock.value_ms += wait_ms
        await world.share()
        assert world.verdicts.looks == [MOST_SUSPECTS] * looks


@pytest.mark.parametrize("failure", [InternalError("away"), RuntimeError("a bug")])
async def test_a_removal_that_fails_is_no_removal(
    world: World, failure: Exception
) -> None:
    """The sending goes on, and a flood that comes then has nothing to bring back."""
    world.devices.failure = failure
    with capture_logs() as logs:
        await world.removal.remove(world.credential, world.said(0))
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "find" in logs[0].get("doing", logs[0]["event"])
    assert world.metrics.push_devices_removed.get("fcm", "code") == 0
    assert world.credential.take_removed_in_flood() == []
    world.devices.failure = None
    world.now_s = QUIET_S
    with capture_logs() as logs:
        await world.removal.remove(world.credential, world.said(0))
    told = [line["event"] for line in logs if line["log_level"] == "info"]
    is_outage = isinstance(failure, InternalError)
    assert told == (["an own store is back"] if is_outage else [])
    assert world.metrics.push_devices_removed.get("fcm", "code") == 1
    assert sorted(world.devices.rows) == ["d1", "d2"]


async def test_a_mark_that_fails_is_no_mark(world: World) -> None:
    """Nothing is taken for suspected that the registry does not know of."""
    world.verdicts.broken = "suspect"
    assert await world.removal.suspect(world.credential, world.said(0)) == 0
    assert world.credential.suspects == set()
    world.verdicts.broken = ""
    assert await world.removal.suspect(world.credential, world.said(0, 1)) == 0
    assert world.credential.suspects == {"d0", "d1"}
    world.credential.delivered = ENOUGH
    world.clock.advance(1)
    assert await world.removal.suspect(world.credential, world.said(0)) == 1
    assert world.credential.suspects == {"d1"}
    assert world.metrics.push_devices_removed.get("fcm", "code") == 1


async def test_an_acquittal_that_fails_comes_again(world: World) -> None:
    """With the next delivery; others stay suspected all the while."""
    await world.removal.suspect(world.credential, world.said(0, 1))
    world.verdicts.broken = "acquit"
    await world.removal.acquit(world.credential, ["d0", "d2"])
    assert world.credential.suspects == {"d0", "d1"}
    world.verdicts.broken = ""
    await world.removal.acquit(world.credential, ["d0", "d2"])
    assert world.credential.suspects == {"d1"}
    assert world.verdicts.acquitted == {"d0"}
    await world.removal.acquit(world.credential, ["d2"])
    assert world.verdicts.acquitted == {"d0"}


async def test_a_person_is_told_of_a_suspicious_credential_once(world: World) -> None:
    """And of none where few guarded verdicts came."""
    world.credential.keep_own("d" * 97 + "s" * 3)
    with capture_logs() as logs:
        await world.removal.hold(world.credential, ["sender_id_mismatch"])
    assert logs == []
    world.credential.keep_own("s" * 20)
    with capture_logs() as logs:
        for _ in range(3):
            await world.removal.hold(world.credential, ["sender_id_mismatch"])
    assert [line["log_level"] for line in logs] == ["error"]
    assert world.verdicts.acquitted_all == [("fcm", "fcm")]
    labels = ("fcm", "sender_id_mismatch")
    assert world.metrics.push_removals_held.get(*labels) == 4


async def test_a_flood_brings_back_what_went_of_its_service(world: World) -> None:
    """As many as came are counted, and none where the registry is away."""
    await world.removal.remove(world.credential, world.said(0, 1))
    assert sorted(world.devices.rows) == ["d2"]
    assert await world.removal.hold_flood(world.credential, ["code"], "other") == 0
    assert await world.removal.hold_flood(world.credential, ["code"], "token-1") == 1
    assert sorted(world.devices.rows) == ["d1", "d2"]
    world.devices.failure = AWAY
    assert await world.removal.hold_flood(world.credential, ["code"]) == 0


async def test_without_a_registry_nothing_is_removed(world: World) -> None:
    """A worker without a database sends all the same."""
    for has_devices, has_verdicts in ((False, False), (False, True), (True, False)):
        removal = DeviceRemoval(
            world.devices if has_devices else None,
            world.metrics,
            world.verdicts if has_verdicts else None,
        )
        with capture_logs() as logs:
            if not has_devices:
                await removal.remove(world.credential, world.said(0))
            assert await removal.suspect(world.credential, world.said(0)) == 0
            world.credential.suspects = {"d0"}
            await removal.acquit(world.credential, ["d0"] if not has_verdicts else [])
        assert logs == []
        world.credential.note_removed({"d0": "token-0"})
        if not has_devices:
            assert await removal.hold_flood(world.credential, ["code"]) == 0
    assert world.verdicts.accused == []
    assert sorted(world.devices.rows) == ["d0", "d1", "d2"]
