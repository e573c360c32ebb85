from __future__ import annotations

import asyncio
import time

import pytest
from tests.support.sends import FreePace, Reports, batch_of

from tocsin.core.outcome import Verdict
from tocsin.providers.dry_run import IN_FLIGHT, DryRunProvider


def provider(latency_s: float = 0) -> DryRunProvider:
    return DryRunProvider("fcm", batch_size=500, latency_s=latency_s)


async def test_everybody_is_reached_on_paper() -> None:
    """Each pending recipient is reported as delivered, once."""
    targets = [f"t{number}" for number in range(250)]
    reports = Reports()
    batch = batch_of(targets, pending=range(5, 250))
    await provider().send(batch, reports, FreePace())
    assert sorted(reports.outcomes) == list(range(5, 250))
    assert reports.verdicts() == {Verdict.DELIVERED: 245}


async def test_answers_take_their_time() -> None:
    """A connection's worth of recipients waits together."""
    targets = [f"t{number}" for number in range(2 * IN_FLIGHT)]
    reports = Reports()
    started = time.monotonic()
    await provider(0.05).send(batch_of(targets), reports, FreePace())
    assert 0.09 < time.monotonic() - started < 2
    assert len(reports.outcomes) == 2 * IN_FLIGHT


@pytest.mark.parametrize("allowed", [0, 1, 150])
async def test_the_pace_holds(allowed: int) -> None:
    """When it stops, all that was started is reported and nothing else."""
    reports = Reports()
    pace = FreePace(stop_after=allowed)
    targets = [f"t{number}" for number in range(300)]
    await provider().send(batch_of(targets), reports, pace)
    assert sorted(reports.outcomes) == list(range(allowed))


async def test_a_pace_that_waits_for_these_very_answers() -> None:
    """A journal without room gets the answers before anybody waits for room."""
    reports = Reports()

    class Journal(FreePace):
        async def wait(self) -> bool:
            async with asyncio.timeout(1):
                while len(reports.outcomes) < self.asked - 1:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            self.asked = -1000
            return True

    targets = [f"t{number}" for number in range(50)]
    await provider().send(batch_of(targets), reports, Journal(stop_after=10))
    assert len(reports.outcomes) == 50
