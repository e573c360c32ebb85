"""What `tocsin admin log` prints."""

from __future__ import annotations

import pytest
from tests.support.admin import ACTOR
from tests.support.jobs import ManualClock
from tests.support.memory_registry import MemoryAudit

from tocsin.admin.actor import Actor
from tocsin.admin.audit import AuditTrail
from tocsin.cli.admin import PAGE, act
from tocsin.core.ports.audit import AuditFilter

ANY = AuditFilter()


@pytest.fixture
def trail() -> AuditTrail:
    return AuditTrail(MemoryAudit(), clock=ManualClock())


async def make(trail: AuditTrail, count: int, actor: Actor = ACTOR) -> None:
    for number in range(count):
        async with trail.entry(actor, f"method-{number}", {"ids": ["1"]}) as changes:
            changes.count = number


async def show(
    trail: AuditTrail, capsys: pytest.CaptureFixture[str], *, limit: int = 0
) -> list[str]:
    capsys.readouterr()
    assert await act(trail, ANY, limit=limit) == 0
    return capsys.readouterr().out.splitlines()


async def test_a_call_is_a_line(
    trail: AuditTrail, capsys: pytest.CaptureFixture[str]
) -> None:
    """When, who from where by which door, what about, how many, and its result."""
    await make(trail, 1)
    line, last = await show(trail, capsys)
    assert line == (
        "2027-01-15T08:00:00+00:00  admin.key (192.0.2.7) by http  method-0"
        '  {"ids": ["1"]}  count 0  done'
    )
    assert last == "1 calls"


async def test_as_many_lines_as_are_asked_for(
    trail: AuditTrail, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 is all of them, over any number of pages; less says that there are more."""
    await make(trail, 2 * PAGE + 1)
    lines = await show(trail, capsys)
    assert len(lines) == 2 * PAGE + 2
    assert "method-200 " in lines[0]
    lines = await show(trail, capsys, limit=PAGE + 1)
    assert len(lines) == PAGE + 2
    assert lines[-1] == f"{PAGE + 1} calls, and older ones"


async def test_what_others_chose_stays_in_its_line(
    trail: AuditTrail, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal obeys control characters."""
    await make(trail, 1, Actor("a\n\x1b[2Jb"))
    lines = await show(trail, capsys)
    assert len(lines) == 2
    assert r"'a\n\x1b[2Jb' by" in lines[0]
