from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from tocsin.cli.queue import act
from tocsin.core.ports.queue import JobQueue


class Backlog:
    """Three jobs to send, two of them for later."""

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        counts: dict[str, Any] = dict.fromkeys(queues, 0)
        return {**counts, "send:fcm": 1 if only_due else 3}


async def test_jobs_for_later_are_told_from_a_backlog(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever looks for work that is stuck must not find a schedule."""
    await act(cast("JobQueue", Backlog()), "status", None, providers=["fcm"])
    expand, send = capsys.readouterr().out.splitlines()
    assert expand.split() == ["expand:fcm", "0", "jobs", "waiting"]
    assert send.endswith(" 3 jobs waiting, 2 of them due later")
