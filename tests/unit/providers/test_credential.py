from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tocsin.providers.credential import (
    HOLD_FAILURE_S,
    RENEW_EARLY_S,
    InTask,
    Issued,
    RenewedCredential,
    at_once,
    in_thread,
)

LIFE_S = 3600.0


class Service:
    """Gives out numbered values on a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.refused: list[str] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.making = InTask(self.make)
        self.credential = RenewedCredential(self.making, clock=lambda: self.now_s)

    @property
    def asked(self) -> int:
        return len(self.refused)

    async def make(self, refused: str) -> Issued:
        self.refused.append(refused)
        number = self.asked
        await self.gate.wait()
        return self.issue(number)

    def make_now(self, refused: str) -> Issued:
        self.refused.append(refused)
        return self.issue(self.asked)

    def issue(self, number: int) -> Issued:
        if self.failure is not None:
            raise self.failure
        return Issued.lasting(f"v{number}", LIFE_S, self.now_s)


@pytest.fixture
async def service() -> Service:
    return Service()


async def until(true: Callable[[], bool]) -> None:
    """A few turns of the loop are all that anything here takes."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is awaited is behind the class
            await asyncio.sleep(0)


async def test_many_share_one_attempt(service: Service) -> None:
    """Who asks while one is under way gets what it brings, and later ones as well."""
    credential = service.credential
    found = await asyncio.gather(*(credential.fetch() for _ in range(50)))
    assert set(found) == {"v1"}
    assert await credential.fetch() == credential.current == "v1"
    assert service.asked == 1


async def test_it_is_renewed_early_and_nobody_waits(service: Service) -> None:
    """In the last five minutes the old one is given out while the next is made."""
    credential = service.credential
    await credential.fetch()
    service.now_s += LIFE_S - RENEW_EARLY_S - 1
    assert await credential.fetch() == "v1"
    assert service.asked == 1
    service.now_s += 1
    service.gate.clear()
    assert [await credential.fetch() for _ in range(3)] == ["v1"] * 3
    service.gate.set()
    await until(lambda: credential.current == "v2")
    assert await credential.fetch() == "v2"
    assert service.asked == 2


@pytest.mark.parametrize(("life_s", "renewed", "ended"), [(100, 50, 90), (8, 4, 7.2)])
async def test_a_short_life_is_shared_out(
    service: Service, life_s: float, renewed: float, ended: float
) -> None:
    """Half of it is used without a thought, and the last tenth not at all."""
    issued = Issued.lasting("v", life_s, service.now_s)
    assert (issued.renew_at_s, issued.ends_at_s) == (
        service.now_s + renewed,
        service.now_s + ended,
    )


async def test_an_ended_one_is_never_given_out(service: Service) -> None:
    """In the last half minute everybody waits for the next one."""
    await service.credential.fetch()
    service.now_s += LIFE_S - 30
    assert await service.credential.fetch() == "v2"


async def test_a_refusal_brings_one_more_for_all(service: Service) -> None:
    """Many who held it complain, at once and late: the next is made once."""
    credential = service.credential
    old = await credential.fetch()
    found = await asyncio.gather(*(credential.renew(old) for _ in range(9)))
    assert set(found) == {"v2"}
    assert await credential.renew(old) == "v2"
    assert service.refused == ["", "v1"]


async def test_a_refused_one_is_given_out_no_more(service: Service) -> None:
    """Who asks meanwhile waits for the next one, too."""
    credential = service.credential
    old = await credential.fetch()
    service.gate.clear()
    renewing = asyncio.create_task(credential.renew(old))
    await asyncio.sleep(0)
    fetching = asyncio.create_task(credential.fetch())
    await asyncio.sleep(0)
    assert not fetching.done()
    assert credential.current == ""
    service.gate.set()
    assert [await renewing, await fetching] == ["v2", "v2"]


async def test_a_held_one_stays_although_it_is_refused(service: Service) -> None:
    """Until its time is over, as seen by a clock that may also be set back."""
    credential = service.credential
    now_s = service.now_s
    credential.take(Issued("held", 2e9, 2e9, held_from_s=now_s, held_until_s=now_s + 9))
    assert not credential.may_renew("held")
    assert credential.may_renew("another")
    assert await credential.renew("held") == "held"
    service.now_s -= 1
    assert credential.may_renew("held")
    service.now_s += 10
    assert credential.may_renew("held")
    assert await credential.renew("held") == "v1"


async def test_a_failure_is_remembered_for_a_moment(service: Service) -> None:
    """A thousand waiting batches do not become a thousand attempts."""
    credential = service.credential
    service.failure = OSError("away")
    failed = await asyncio.gather(
        *(credential.fetch() for _ in range(5)), return_exceptions=True
    )
    assert failed == [service.failure] * 5
    for ask in (credential.fetch, lambda: credential.renew("v0")):
        with pytest.raises(OSError, match="away"):
            await ask()
    assert service.asked == 1
    service.failure = None
    service.now_s += HOLD_FAILURE_S
    assert await credential.fetch() == "v2"
    service.now_s -= 1  # a clock that is set back brings no old failure
    assert await credential.renew("v2") == "v3"


async def test_a_failure_that_many_hear_of_does_not_grow(service: Service) -> None:
    """It is one exception: each time it is raised its traceback begins anew."""
    service.failure = OSError("away")
    depths = []
    for _ in range(4):
        with pytest.raises(OSError, match="away") as caught:
            await service.credential.fetch()
        depths.append(len(caught.traceback))
    assert len(set(depths[1:])) == 1


async def test_another_thread_that_was_faster_is_enough(service: Service) -> None:
    """Whoever saw none, and finds one before it begins, takes that."""

    def look() -> float:
        if not credential.current:
            credential.take(Issued("faster", 2e9, 2e9))
        return service.now_s

    credential = RenewedCredential(at_once(service.make_now), clock=look)
    assert credential.fetch_blocking() == "faster"
    assert service.asked == 0


async def test_a_failed_early_renewal_costs_nothing_yet(service: Service) -> None:
    """The old one is used to its end, and the next is tried for again."""
    credential = service.credential
    await credential.fetch()
    service.now_s += LIFE_S - RENEW_EARLY_S
    service.failure = OSError("away")
    for _ in range(3):
        assert await credential.fetch() == "v1"
        await asyncio.sleep(0.001)
    assert service.asked == 2
    service.failure = None
    service.now_s += HOLD_FAILURE_S
    assert await credential.fetch() == "v1"
    await until(lambda: credential.current == "v3")


async def test_who_is_cancelled_takes_it_from_nobody(service: Service) -> None:
    """Neither from the others, nor, where all are, from who comes after them."""
    credential = service.credential
    service.gate.clear()
    first, second = (asyncio.create_task(credential.fetch()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    service.gate.set()
    assert await second == "v1"
    service.gate.clear()
    alone = asyncio.create_task(credential.renew("v1"))
    await until(lambda: service.asked == 2)
    alone.cancel()
    await asyncio.wait([alone])
    service.gate.set()
    assert await credential.fetch() == "v2"
    assert service.asked == 2


async def test_one_from_the_future_is_made_anew(service: Service) -> None:
    """Where the value names a moment, a clock that was set back makes it wrong."""
    credential = service.credential
    credential.take(Issued("future", 2e9, 2e9, since_s=service.now_s))
    assert await credential.fetch() == "future"
    service.now_s -= 1
    assert await credential.fetch() == "v1"


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_closing_ends_an_attempt(service: Service, turns: int) -> None:
    """At whatever moment: who waits is cancelled, and another may begin."""
    credential = service.credential
    service.gate.clear()
    waiting = asyncio.create_task(credential.fetch())
    await until(lambda: service.making._task is not None)
    for _ in range(turns):
        await asyncio.sleep(0)
    await service.making.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    service.gate.set()
    assert await credential.fetch() == f"v{service.asked}"
    await service.making.close()


async def test_a_thread_serves_several_loops() -> None:
    """All share its one attempt; `current` is the new one for whoever wakes up."""
    service, may_answer = Service(), threading.Event()

    def make(refused: str) -> Issued:
        assert may_answer.wait(10)
        return service.make_now(refused)

    credential = RenewedCredential(in_thread(make, "t"), clock=lambda: service.now_s)

    def blocked() -> tuple[str, str]:
        return credential.renew_blocking(""), credential.current

    with ThreadPoolExecutor(6) as threads:
        loops = [threads.submit(asyncio.run, credential.fetch()) for _ in range(3)]
        others = [threads.submit(blocked) for _ in range(3)]
        may_answer.set()
        assert [each.result() for each in loops] == ["v1"] * 3
        assert [each.result() for each in others] == [("v1", "v1")] * 3
    assert service.asked == 1


async def test_what_cannot_begin_is_a_failure_like_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine without a thread to spare has one later: nobody waits for ever."""
    service = Service()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    credential = RenewedCredential(
        in_thread(service.make_now, "t"), clock=lambda: service.now_s
    )
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await credential.fetch()
    service.now_s += HOLD_FAILURE_S
    async with asyncio.timeout(10):
        assert await credential.fetch() == "v1"


async def test_what_is_made_at_once_needs_no_loop(service: Service) -> None:
    """A signature is there before a wait could begin."""
    credential = RenewedCredential(
        at_once(service.make_now), clock=lambda: service.now_s
    )
    assert credential.current == ""
    assert credential.fetch_blocking() == "v1"
    assert credential.renew_blocking("v1") == "v2"
    assert credential.renew_blocking("v1") == "v2"
    service.failure = OSError("no key")
    service.now_s += LIFE_S
    with pytest.raises(OSError, match="no key"):
        credential.fetch_blocking()
    assert service.refused == ["", "v1", ""]


def test_no_value_is_shown() -> None:
    """Where one is printed by accident, it stays out."""
    assert "secret" not in repr(Issued.lasting("secret", 1, 1))
