"""A worker whose credential or body is refused, against a queue in memory."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ScriptedProvider, make_send_job, make_walk_job
from tests.support.memory_registry import MemoryDevices
from tests.unit.delivery.test_worker import Bench, pages

from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.push import Send

FAULT = Outcome(Verdict.MISCONFIGURED, "not_found", "404 no project", slow_down=True)
MISMATCH = Outcome(Verdict.SUSPECT, "sender_id_mismatch")
REASON = "body_refused: payload_too_large: 413 big"


def too_big(_: str) -> Outcome:
    return Outcome(Verdict.REJECTED, "payload_too_large", "413 big", of_body=True)


def waiting(bench: Bench) -> int:
    """Recipients that wait in the queue."""
    jobs = bench.queue.jobs
    return sum(len(job.work.recipients) for job in jobs if isinstance(job.work, Send))


async def pass_time(bench: Bench, seconds: int) -> None:
    """Let that time pass, with the worker looking in between."""
    for _ in range(seconds):
        bench.clock.advance(1)
        bench.queue.data.wake_readers()
        for _ in range(30):
            await asyncio.sleep(0)
        await bench.until(bench.is_free)


@pytest.mark.parametrize("answer", [FAULT, MISMATCH])
async def test_a_refused_credential_loses_nobody(answer: Outcome) -> None:
    """Few are asked while it lasts; all of it is sent once it works again."""
    works = False
    devices = pages(900)
    bench = Bench(
        ScriptedProvider(lambda _: DELIVERED if works else answer),
        devices=devices,
        registry=devices,
    )
    walk = make_walk_job()
    bench.queue.put(walk)
    bench.queue.put(make_send_job(40, push_id="p2", id="p2:fcm:0"))
    async with bench.running():
        await bench.until(lambda: bool(bench.provider.sent) and bench.is_free())
        await pass_time(bench, 120)
        asked = len(bench.provider.sent)
        assert bench.queue.dead == []
        works = True
        bench.provider.sent.clear()
        await pass_time(bench, 400)
        await bench.until(lambda: not bench.queue.jobs)
    # Those of the first moment, then a probe at 10, 30, 70 seconds and so on.
    assert asked < 80
    assert len(set(bench.provider.sent)) == 900 + 40 - len(
        {f"token-{n}" for n in range(40)} & {f"token-{n}" for n in range(900)}
    )
    assert bench.queue.dead == []
    assert len(devices.rows) == 900, "nobody was removed"


async def test_a_refused_credential_keeps_a_walk_where_it_is() -> None:
    """Its batches could only wait, and there may be thousands."""
    bench = Bench(ScriptedProvider(lambda _: FAULT), devices=pages(12_000))
    bench.queue.put(make_send_job(1, push_id="p2", id="p2:fcm:0"))
    async with bench.running():
        await bench.until(lambda: bool(bench.provider.sent) and bench.is_free())
        bench.queue.put(make_walk_job())
        for _ in range(8):
            await pass_time(bench, 1)
        assert waiting(bench) == 1
        [walk] = [job for job in bench.queue.jobs if not isinstance(job.work, Send)]
        assert walk.first_try_at_ms


async def test_a_refused_body_stops_after_a_few_answers() -> None:
    """The walk with its position, and every batch, are letters with one reason."""
    bench = Bench(ScriptedProvider(too_big), devices=pages(7_000))
    bench.queue.put(make_walk_job())
    with capture_logs() as logs:
        async with bench.running():
            await bench.until(lambda: not bench.queue.jobs)
    assert len(bench.provider.sent) <= 20
    assert {reason for _, reason in bench.queue.dead} == {REASON}
    batches = [job for job, _ in bench.queue.dead if isinstance(job.work, Send)]
    [walk] = [job for job, _ in bench.queue.dead if not isinstance(job.work, Send)]
    assert sum(len(job.work.recipients) for job in batches) == 5_000
    assert len(batches) == 10, "one for each batch"
    assert walk.work.cursor
    told = [line for line in logs if "refuses the body" in str(line["event"])]
    assert len(told) == 1


async def test_a_replay_asks_anew() -> None:
    """Once what stands in the way was lifted."""
    bench = Bench(ScriptedProvider(too_big))
    bench.queue.put(make_send_job(300))
    async with bench.running():
        await bench.until(lambda: not bench.queue.jobs)
        bench.clock.advance(120)
        bench.provider.answer = lambda _: DELIVERED
        bench.provider.sent.clear()
        letters = await bench.queue.list_dead(limit=10)
        await bench.queue.replay_dead([letter.id for letter in letters])
        await bench.until(lambda: not bench.queue.jobs)
    assert len(bench.provider.sent) == 300


async def test_a_body_that_was_taken_stops_for_nobody() -> None:
    """A fault that some recipients alone have, from the tenth on, is theirs."""
    bench = Bench(
        ScriptedProvider(lambda target: too_big("") if len(target) > 7 else DELIVERED)
    )
    bench.queue.put(make_send_job(200))
    async with bench.running():
        await bench.until(lambda: not bench.queue.jobs)
    assert len(bench.provider.sent) == 200
    [(letter, reason)] = bench.queue.dead
    assert reason == "payload_too_large: 413 big"
    assert isinstance(letter.work, Send)
    assert len(letter.work.recipients) == 190


async def test_an_own_device_of_each_kind_is_no_reason() -> None:
    """Dead and living ones in any order: the registry decides by what is believed."""
    answers = [DELIVERED, Outcome(Verdict.UNREGISTERED, "unregistered")]
    bench = Bench(
        ScriptedProvider(lambda target: answers[int(target[6:]) % 2]),
        registry=MemoryDevices(),
    )
    bench.queue.put(make_send_job(100))
    async with bench.running():
        await bench.until(lambda: not bench.queue.jobs)
    assert len(bench.provider.sent) == 100
    assert bench.queue.dead == []
