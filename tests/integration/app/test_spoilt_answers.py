"""Successes whose body never came whole, from the send to what follows from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import serving, until

from tocsin.simulator.server import Simulator

TOKENS = ("cut-1", "empty-1", "page-1", "half-1", "good-1")


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with running_simulator(directory) as simulator:
        yield simulator


async def test_nobody_is_sent_a_push_again(
    simulator: Simulator, tmp_path: Path
) -> None:
    """They count as sent, no try follows, and the metric says what was odd."""
    async with serving(simulator, tmp_path) as tocsin:
        await tocsin.register(TOKENS)
        uid = await tocsin.send()

        async def settled() -> bool:
            result = (await tocsin.funnel(uid))["result"]
            return bool(result["sent"] == len(TOKENS))

        await until(settled)
        metrics = await tocsin.metrics()
    assert simulator.ledger.delivered == dict.fromkeys(TOKENS, 1)
    odd = next(
        line
        for line in metrics.splitlines()
        if "push_notification_count{" in line and "unreadable_answer" in line
    )
    assert 'success="true"' in odd
    assert float(odd.rpartition(" ")[2]) == len(TOKENS) - 1
    assert "push_retry_count{" not in metrics
