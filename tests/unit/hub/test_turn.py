from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.testing import capture_logs

from tocsin.hub.turn import Turn


class Part:
    """Something due; writes down when it was flushed."""

    def __init__(
        self, name: str, log: list[str], then: Callable[[], None] | None = None
    ) -> None:
        self._name, self._log, self._then = name, log, then

    def flush(self) -> None:
        self._log.append(self._name)
        if self._then is not None:
            self._then()


async def test_groups_go_before_connections() -> None:
    """Everything due is flushed at the turn's end, connections last and once."""
    turn, log = Turn(), []  # type: tuple[Turn, list[str]]
    connection = Part("connection", log)
    turn.add_connection(connection)
    turn.add_group(Part("group", log, lambda: turn.add_connection(Part("late", log))))
    assert log == []
    await asyncio.sleep(0)
    assert log == ["group", "connection", "late"]
    await asyncio.sleep(0)
    assert len(log) == 3


async def test_what_comes_up_during_a_flush_waits_for_the_next() -> None:
    """A connection that becomes due while connections are flushed comes next turn."""
    turn, log = Turn(), []  # type: tuple[Turn, list[str]]
    again = Part("again", log)
    turn.add_connection(Part("first", log, lambda: turn.add_connection(again)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["first", "again"]


async def test_a_mistake_about_one_is_not_felt_by_others() -> None:
    """One part that fails is logged; the others are flushed, now and later."""
    turn, log = Turn(), []  # type: tuple[Turn, list[str]]

    def fail() -> None:
        raise RuntimeError("a bug")

    turn.add_group(Part("group", log, fail))
    turn.add_connection(Part("bad", log, fail))
    turn.add_connection(Part("good", log))
    with capture_logs() as lines:
        await asyncio.sleep(0)
        turn.add_connection(Part("later", log))
        await asyncio.sleep(0)
    assert log == ["group", "bad", "good", "later"]
    assert [line["log_level"] for line in lines] == ["error", "error"]
