from __future__ import annotations

import pytest
from tests.support.jobs import ManualClock, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.cli.queue import print_status
from tocsin.core.lanes import Priority


async def test_jobs_for_later_are_told_from_a_backlog(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever looks for work that is stuck must not find a schedule."""
    clock = ManualClock()
    queue = MemoryJobQueue(clock)
    for due_ms in (0, clock.now_ms() + 1000, clock.now_ms() + 2000):
        queue.put(make_send_job(1), due_ms)
    await print_status(queue, ["fcm"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["expand:fcm"].split() == ["expand:fcm", "0", "jobs", "waiting"]
    assert lines["send:fcm"].endswith(" 3 jobs waiting, 2 of them due later")


async def test_every_lane_is_shown_and_retries_where_there_are_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The most urgent first."""
    queue = MemoryJobQueue(ManualClock())
    queue.put(make_send_job(1, attempt=1, priority=Priority.BULK))
    await print_status(queue, ["fcm"])
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        ["expand:fcm:transactional", "0"],
        ["send:fcm:transactional", "0"],
        ["expand:fcm", "0"],
        ["send:fcm", "0"],
        ["expand:fcm:bulk", "0"],
        ["send:fcm:bulk", "0"],
        ["send:fcm:bulk:retry", "1"],
    ]
