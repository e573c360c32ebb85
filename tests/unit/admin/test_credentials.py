"""What operators see of credentials, and do about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tests.support.jobs import ManualClock

from tocsin.admin.actor import NOBODY
from tocsin.admin.audit import AuditTrail
from tocsin.admin.credentials import CredentialName, CredentialService
from tocsin.core.breaker import BreakerState, Cause, credential_name, open_breaker
from tocsin.core.errors import BadRequest, Conflict
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.breakers import BreakerStore
from tocsin.delivery.breakers import LocalBreakerStore

FAULT = Outcome(Verdict.MISCONFIGURED, "not_found", "404 no project", slow_down=True)
SHOP = CredentialName("fcm", "shop", "d1")
NEWS = CredentialName("apns", "news", "d2")


class SomeBacklog:
    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        assert not only_due
        waiting = {"send:fcm": 4, "send:fcm:bulk": 2, "send:fcm:retry": 1}
        return {name: waiting.get(name, 0) for name in queues}


class CredentialDesk:
    """A service over a store that workers share."""

    def __init__(self, store: BreakerStore | None = None) -> None:
        self.clock = ManualClock()
        self.store = store or LocalBreakerStore()
        self.service = CredentialService(
            self.store,
            [SHOP, NEWS],
            clock=self.clock,
            backlog=SomeBacklog(),
            audit=AuditTrail(None, clock=self.clock),
        )

    async def open(self, integration: str = "shop", digest: str = "d1") -> None:
        breaker = open_breaker(Cause.FAULT, FAULT, self.clock.now_ms(), push_id="p1")
        name = credential_name("fcm", integration, digest)
        assert await self.store.swap(name, None, breaker.to_text())

    async def states(self) -> list[tuple[str, BreakerState, bool]]:
        return [
            (each.integration, each.state, each.is_configured)
            for each in await self.service.list()
        ]


async def test_all_that_are_configured_are_listed() -> None:
    """With what stops them, and how much waits at their provider."""
    desk = CredentialDesk()
    await desk.open()
    shop, news = await desk.service.list()
    assert (shop.provider, shop.integration, shop.waiting) == ("fcm", "shop", 7)
    assert shop.state is BreakerState.OPEN
    assert shop.breaker is not None
    assert shop.breaker.push_id == "p1"
    assert (news.state, news.breaker, news.waiting) == (BreakerState.CLOSED, None, 0)
    assert await desk.service.reason("fcm", "shop") == "not_found: 404 no project"
    assert await desk.service.reason("apns", "news") == ""
    assert await desk.service.reason("apns", "unknown") == ""


async def test_breakers_of_another_key_are_told_apart() -> None:
    """A worker may have an older configuration; what cannot be read is left out."""
    desk = CredentialDesk()
    await desk.open(digest="old")
    await desk.store.swap("credential|fcm|odd|d", None, "?")
    await desk.store.swap("body|p1|fcm|shop|d", None, "{}")
    assert await desk.states() == [
        ("shop", BreakerState.CLOSED, True),
        ("news", BreakerState.CLOSED, True),
        ("shop", BreakerState.OPEN, False),
    ]


async def test_a_probe_by_hand_is_due_at_once() -> None:
    """Also where a worker is at one already."""
    desk = CredentialDesk()
    await desk.open()
    assert await desk.service.probe("shop", actor=NOBODY)
    assert (await desk.states())[0] == ("shop", BreakerState.HALF_OPEN, True)
    assert not await desk.service.probe("news", actor=NOBODY)


async def test_closed_by_hand() -> None:
    """Once; what waits goes on."""
    desk = CredentialDesk()
    await desk.open()
    assert await desk.service.close("shop", actor=NOBODY)
    assert not await desk.service.close("shop", actor=NOBODY)
    assert await desk.store.fetch() == {}


async def test_an_unknown_name_is_refused() -> None:
    """The error names those that are configured."""
    desk = CredentialDesk()
    for change in (desk.service.probe, desk.service.close):
        with pytest.raises(BadRequest, match="integration: is none of news, shop"):
            await change("shops", actor=NOBODY)


class Restless(LocalBreakerStore):
    """Somebody else changes it all the time; at last they stop."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.left = changes

    async def swap(self, name: str, before: str | None, after: str | None) -> bool:
        if before is not None and self.left:
            self.left -= 1
            return False
        return await super().swap(name, before, after)

    async def fetch(self) -> Mapping[str, str]:
        return await super().fetch()


async def test_workers_may_change_it_meanwhile() -> None:
    """It is tried again, and not for ever."""
    desk = CredentialDesk(Restless(changes=19))
    await desk.open()
    assert await desk.service.close("shop", actor=NOBODY)
    desk = CredentialDesk(Restless(changes=20))
    await desk.open()
    with pytest.raises(Conflict, match="try again"):
        await desk.service.close("shop", actor=NOBODY)
