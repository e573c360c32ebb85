from __future__ import annotations

import pytest
from tests.support.jobs import ManualClock, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.cli.queue import act


async def test_jobs_for_later_are_told_from_a_backlog(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever looks for work that is stuck must not find a schedule."""
    clock = ManualClock()
    queue = MemoryJobQueue(clock)
    for due_ms in (0, clock.now_ms() + 1000, clock.now_ms() + 2000):
        queue.put(make_send_job(1), due_ms)
    await act(queue, "status", None, providers=["fcm"])
    expand, send = capsys.readouterr().out.splitlines()
    assert expand.split() == ["expand:fcm", "0", "jobs", "waiting"]
    assert send.endswith(" 3 jobs waiting, 2 of them due later")
