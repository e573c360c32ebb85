from __future__ import annotations

import pytest
from tests.support.clock import MovedClock

from tocsin.core.analytics import Funnel, NotificationRow
from tocsin.core.errors import BadRequest, InternalError, NotAvailable
from tocsin.core.ids import new_id
from tocsin.push.status import StatusReport, StatusService

DEVICE = new_id("fcm")


class Rows:
    """A `RowSink` with room for so many rows."""

    def __init__(self, room: int = 10) -> None:
        self.rows: list[NotificationRow] = []
        self._room = room

    def add(self, row: NotificationRow) -> bool:
        if len(self.rows) >= self._room:
            return False
        self.rows.append(row)
        return True


class Funnels:
    """A `FunnelSource` that knows one funnel."""

    async def fetch_funnel(self, uid: str) -> Funnel:
        return Funnel(uid, sent=7)


def service(rows: Rows) -> StatusService:
    return StatusService(rows, Funnels(), clock=MovedClock(1234))


@pytest.mark.parametrize("status", ["delivered", "interacted"])
async def test_a_report_is_a_row(status: str) -> None:
    """It holds what the caller said and when; workers' columns stay empty."""
    rows = Rows()
    await service(rows).update(StatusReport("u1", status, DEVICE, "m-1"))
    (row,) = rows.rows
    assert row == NotificationRow(
        "u1", "", "", "", DEVICE, "", "", "m-1", status, "", "", 1234
    )


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (StatusReport("", "delivered", DEVICE), "analytics_uid"),
        (StatusReport("u" * 256, "delivered", DEVICE), "analytics_uid"),
        (StatusReport("u", "", DEVICE), "status"),
        (StatusReport("u", "sent", DEVICE), "status"),
        (StatusReport("u", "failed", DEVICE), "status"),
        (StatusReport("u", "Delivered", DEVICE), "status"),
        (StatusReport("u", "delivered", ""), "device_id"),
        (StatusReport("u", "delivered", "a-push-token"), "device_id"),
        (StatusReport("u", "delivered", DEVICE, "m\0"), "msg_id"),
        (StatusReport("u", "delivered", DEVICE, "m" * 1025), "msg_id"),
    ],
)
async def test_wrong_reports_are_refused(report: StatusReport, field: str) -> None:
    """The field is named, its value is not repeated, and nothing is kept."""
    rows = Rows()
    with pytest.raises(BadRequest) as raised:
        await service(rows).update(report)
    assert raised.value.field == field
    assert "a-push-token" not in raised.value.message
    assert rows.rows == []


async def test_a_full_buffer_is_told() -> None:
    """A report that cannot be kept is not accepted."""
    with pytest.raises(InternalError, match="try again later"):
        await service(Rows(room=0)).update(StatusReport("u", "delivered", DEVICE))


async def test_without_analytics_both_calls_are_not_available() -> None:
    """The error says what to configure; a wrong field is still told first."""
    off = StatusService()
    with pytest.raises(NotAvailable, match="analytics is off"):
        await off.update(StatusReport("u", "delivered", DEVICE))
    with pytest.raises(NotAvailable, match="analytics is off"):
        await off.fetch_funnel("u")
    with pytest.raises(BadRequest):
        await off.update(StatusReport("u", "lost", DEVICE))


async def test_funnel_is_read_by_uid() -> None:
    """The store is asked; an empty uid is refused."""
    assert await service(Rows()).fetch_funnel("u1") == Funnel("u1", sent=7)
    with pytest.raises(BadRequest):
        await service(Rows()).fetch_funnel("")
