"""What `tocsin queue dead` prints of each letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.jobs import ManualClock, MemoryJobQueue, make_payload, make_send_job

from tocsin.cli import queue as verb
from tocsin.core.device import DeviceFilter
from tocsin.core.push import DeadLetter, Expand, Job, Payload

AT_MS = 1_800_000_000_000


class _Queue(MemoryJobQueue):
    """Lists its letters page by page, and counts how often a payload is read."""

    def __init__(self, *letters: tuple[Job, str]) -> None:
        super().__init__(ManualClock())
        self.dead.extend(letters)
        self.fetched: list[str] = []

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        start = int(after) if after else 0
        return [
            DeadLetter(str(number), job, reason, AT_MS)
            for number, (job, reason) in enumerate(self.dead[start:], start=start + 1)
        ][:limit]

    async def fetch_payload(self, push_id: str) -> Payload | None:
        self.fetched.append(push_id)
        return await super().fetch_payload(push_id)


async def _print(queue: Any, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert await verb._print_dead(queue) == 0
    return capsys.readouterr().out.splitlines()


async def test_a_letter_names_its_send(capsys: pytest.CaptureFixture[str]) -> None:
    """By uid and push id, with provider, attempt and reason."""
    queue = _Queue((make_send_job(2, attempt=3), "invalid_argument: no map"))
    queue.payloads["p1"] = make_payload()
    first, last = await _print(queue, capsys)
    assert first == (
        "1  2027-01-15T08:00:00+00:00  uid u1  push p1  send:fcm  provider fcm"
        "  attempt 3  2 recipients  invalid_argument: no map"
    )
    assert last == "1 dead letters"
    assert "token-" not in first


async def test_a_letter_of_a_walk(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows its recipients; its integration is named where it has one."""
    job = make_send_job(1, integration="shop").with_work(
        Expand(DeviceFilter(topics=("t",))), id="p1:x"
    )
    first, _ = await _print(_Queue((job, "no_integration: shop")), capsys)
    assert "expand:fcm  provider fcm  integration shop  attempt 0  a filter  " in first


async def test_a_letter_without_its_payload(capsys: pytest.CaptureFixture[str]) -> None:
    """It is listed like any other."""
    first, _ = await _print(_Queue((make_send_job(1), "gone")), capsys)
    assert "  uid unknown  push p1  " in first


async def test_a_uid_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Callers choose it, and a terminal obeys control characters."""
    queue = _Queue((make_send_job(1), "gone"))
    queue.payloads["p1"] = replace(make_payload(), uid="a\n\x1b[2Jb")
    lines = await _print(queue, capsys)
    assert len(lines) == 2
    assert r"uid 'a\n\x1b[2Jb'  push p1" in lines[0]


async def test_a_payload_is_read_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Many letters of one send cost one look, over all pages."""
    count = 2 * verb.PAGE + 1
    queue = _Queue(*[(make_send_job(1), "gone")] * count)
    queue.payloads["p1"] = make_payload()
    lines = await _print(queue, capsys)
    assert len(lines) == count + 1
    assert queue.fetched == ["p1"]
