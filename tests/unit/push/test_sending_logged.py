"""A send with a log is accepted with its row, whatever comes between row and queue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.lost_sends import LostSends

from tocsin.core.errors import QueueFull
from tocsin.core.push import Body, RawRecipient, SendRequest, TargetKind
from tocsin.core.send_log import Progress
from tocsin.push.repair import FIRST_CALL_MS, LATE_MS
from tocsin.push.sending import SendService

REQUEST = SendRequest(
    RawRecipient("fcm", TargetKind.TOKEN, ("t1", "t2")),
    {"fcm": Body(b'{"data":{}}')},
    uid="u1",
)


@pytest.fixture
def rig() -> LostSends:
    return LostSends()


def _service(rig: LostSends, log: Any = None) -> SendService:
    return SendService(
        rig.queue,
        None,
        clock=rig.clock,
        enabled_providers=("fcm",),
        has_database=True,
        watch=rig.watch,
        log=log or rig.log,
        repair=rig.repair,
    )


def _standing_still(rig: LostSends, ms: int) -> SendService:
    """The service of a process that stops behind the row for so long."""

    async def begin(method: str) -> None:
        if method == "accept":
            rig.clock.advance(ms / 1000)

    return _service(rig, rig.open_log(begin=begin))


async def test_a_send_is_a_row_and_work(rig: LostSends) -> None:
    assert await _service(rig).send(REQUEST) == "u1"
    record = await rig.log.fetch(uid="u1")
    assert record is not None
    assert record.progress is Progress.ACCEPTED
    assert [job.push_id for job in rig.jobs()] == [record.push_id]


@pytest.mark.parametrize("ms", [0, LATE_MS, FIRST_CALL_MS])
async def test_a_call_that_stood_still_queues_its_send_once(
    rig: LostSends, ms: int
) -> None:
    """Also where nobody has repaired it meanwhile."""
    assert await _standing_still(rig, ms).send(REQUEST) == "u1"
    assert len(rig.jobs()) == 1
    record = await rig.log.fetch(uid="u1")
    assert record is not None
    assert record.progress is Progress.ACCEPTED


async def test_a_call_that_stood_still_finds_its_send_over(rig: LostSends) -> None:
    """Another process has repaired it, and all of it was sent and forgotten."""
    keeper = rig.open_keeper()

    class Slow:
        """Its answer comes after everything else has happened."""

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.log, name)

        async def accept(self, accepting: Any) -> Any:
            taken = await rig.log.accept(accepting)
            rig.clock.advance(FIRST_CALL_MS / 1000)
            await keeper.look()
            await rig.send()
            rig.clock.advance(1)
            await keeper.look()
            await keeper.look()
            return taken

    assert await _service(rig, Slow()).send(REQUEST) == "u1"
    assert rig.jobs() == []
    record = await rig.log.fetch(uid="u1")
    assert record is not None
    assert record.progress is Progress.FINISHED
    assert record.account.parts == {"delivered": 2}


async def test_a_repeat_of_a_lost_send_queues_it_again(rig: LostSends) -> None:
    service = _service(rig)
    await service.send(REQUEST)
    await rig.open_keeper().look()
    await rig.lose()
    assert await service.send(REQUEST) == "u1"
    assert len(rig.jobs()) == 1
    assert await service.send(REQUEST) == "u1"
    assert len(rig.jobs()) == 1


async def test_a_send_that_finds_no_room_is_refused_until_it_is_repeated(
    rig: LostSends,
) -> None:
    service = _service(rig)
    rig.queue.faults["enqueue"] = [QueueFull()]
    with pytest.raises(QueueFull):
        await service.send(REQUEST)
    record = await rig.log.fetch(uid="u1")
    assert record is not None
    assert record.progress is Progress.REFUSED
    assert await service.send(REQUEST) == "u1"
    assert len(rig.jobs()) == 1


async def test_a_cancelled_send_does_not_come_back_from_the_log(
    rig: LostSends,
) -> None:
    """The queue has lost it, and nobody has repaired it yet."""
    service = _service(rig)
    later = replace(REQUEST, send_at_ms=rig.clock.now_ms() + 3_600_000)
    await service.send(later)
    keeper = rig.open_keeper()
    await keeper.look()
    await rig.lose()
    await service.cancel("u1")
    for _ in range(3):
        rig.clock.advance(5)
        await keeper.look()
    rig.clock.advance(3600)
    assert rig.jobs() == []
    record = await rig.log.fetch(uid="u1")
    assert record is not None
    assert record.progress is Progress.CANCELLED
    assert record.account.parts == {"cancelled": 2}
    assert record.account.find_fault() == ""


async def test_a_cancel_brings_back_nothing_that_has_begun(rig: LostSends) -> None:
    """It is repaired by its keeper, and goes out."""
    service = _service(rig)
    await service.send(REQUEST)
    await rig.open_keeper().look()
    await rig.lose()
    await service.cancel("u1")
    await service.cancel("unknown")
    assert rig.jobs() == []
    assert rig.repaired == {}
