"""What `tocsin queue dead` prints of each letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.jobs import ManualClock, make_payload, make_send_job, make_walk_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.cli import queue as verb
from tocsin.core.ports.queue import JobOperator
from tocsin.core.push import Job

AT_MS = 1_800_000_000_000


def _queue(*letters: tuple[Job, str], uids: Sequence[str] = ()) -> MemoryJobQueue:
    """A queue with these letters, the first ones with the payload of that uid."""
    queue = MemoryJobQueue(ManualClock(AT_MS))
    for number, (job, reason) in enumerate(letters):
        if uid := uids[number] if number < len(uids) else "":
            queue.payloads[job.push_id] = replace(make_payload(job.push_id), uid=uid)
        queue.data.bury(job, reason, AT_MS)
        queue.payloads.clear()
    return queue


async def _print(queue: JobOperator, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert await verb.act(queue, "dead", [], providers=[]) == 0
    return capsys.readouterr().out.splitlines()


async def test_a_letter_names_its_send(capsys: pytest.CaptureFixture[str]) -> None:
    """By uid and push id, with provider, attempt and reason."""
    letter = (make_send_job(2, attempt=3), "invalid_argument: no map")
    first, last = await _print(_queue(letter, uids=["u1"]), capsys)
    assert first == (
        "1  2027-01-15T08:00:00+00:00  uid u1  push p1  send:fcm:retry  provider fcm"
        "  attempt 3  2 recipients  invalid_argument: no map"
    )
    assert last == "1 dead letters"
    assert "token-" not in first


async def test_a_letter_of_a_walk(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows its recipients; its integration is named where it has one."""
    job = make_walk_job(integration="shop")
    first, _ = await _print(_queue((job, "no_integration: shop")), capsys)
    assert "expand:fcm  provider fcm  integration shop  attempt 0  a filter  " in first


async def test_a_letter_without_its_payload(capsys: pytest.CaptureFixture[str]) -> None:
    """It is listed like any other."""
    first, _ = await _print(_queue((make_send_job(1), "gone")), capsys)
    assert "  uid unknown  push p1  " in first


async def test_a_uid_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Callers choose it, and a terminal obeys control characters."""
    queue = _queue((make_send_job(1), "gone"), uids=["a\n\x1b[2Jb"])
    lines = await _print(queue, capsys)
    assert len(lines) == 2
    assert r"uid 'a\n\x1b[2Jb'  push p1" in lines[0]


async def test_every_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each letter with its own send."""
    count = 2 * verb.PAGE + 1
    uids = ["first", *[""] * (count - 2), "last"]
    queue = _queue(*[(make_send_job(1), "gone")] * count, uids=uids)
    lines = await _print(queue, capsys)
    assert len(lines) == count + 1
    told = [number for number, line in enumerate(lines, 1) if "unknown" not in line]
    assert told == [1, count, count + 1]
