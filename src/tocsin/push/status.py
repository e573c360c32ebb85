"""Push room: takes what apps report of a push, and reads what became of it.

It checks and hands on; the analytics store decides where and how long rows are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.core.analytics import (
    Funnel,
    NotificationRow,
    PushStatus,
    SendState,
    find_state,
)
from tocsin.core.errors import InternalError, NotAvailable
from tocsin.core.ports.analytics import FunnelSource, RowSink
from tocsin.core.ports.clock import Clock
from tocsin.push import checks

MSG_ID_LENGTH = 1024

_REPORTED = (PushStatus.DELIVERED.value, PushStatus.INTERACTED.value)
_OFF = (
    "analytics is off: set database.postgresql.dsn or database.sqlite.path, or"
    " clickhouse_analytics.export.notifications.enabled"
)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """An app's report of one push, as its back end passes it on."""

    uid: str
    status: str
    device_id: str
    msg_id: str = ""


class StatusService:
    """Takes reports and reads funnels; `None` for both where analytics is off.

    Every method raises `BadRequest` naming the field and `NotAvailable` where
    analytics is off.
    """

    def __init__(
        self,
        rows: RowSink | None = None,
        store: FunnelSource | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._rows = rows
        self._store = store
        self._clock = clock

    async def update(self, report: StatusReport) -> None:
        """Add a row, which is stored soon; the uid need not be known.

        The device id has to be one that a server made: any other text could be a
        token, and tokens are not kept. Raises `InternalError` if the buffer is full,
        since the store is away.
        """
        checks.check_text("analytics_uid", report.uid, checks.NAME_LENGTH)
        checks.check_choice("status", report.status, _REPORTED)
        checks.check_text("device_id", report.device_id, checks.NAME_LENGTH)
        checks.check_id("device_id", report.device_id)
        checks.check_text("msg_id", report.msg_id, MSG_ID_LENGTH, required=False)
        if self._rows is None or self._clock is None:
            raise NotAvailable(_OFF)
        row = NotificationRow(
            uid=report.uid,
            provider="",
            type="",
            recipient="",
            device_id=report.device_id,
            platform="",
            user="",
            msg_id=report.msg_id,
            status=report.status,
            error_message="",
            error_code="",
            time_ms=self._clock.now_ms(),
        )
        if not self._rows.add(row):
            raise InternalError("analytics cannot be written now, try again later")

    async def fetch_funnel(self, uid: str) -> Funnel:
        """The funnel of sends with that `analytics_uid`, or that `uid` without one."""
        checks.check_text("uid", uid, checks.NAME_LENGTH)
        if self._store is None:
            raise NotAvailable(_OFF)
        return await self._store.fetch_funnel(uid)

    def find_state(self, funnel: Funnel) -> SendState | None:
        """The state of the send, which the numbers of the funnel do not show."""
        return find_state(funnel, self._clock.now_ms()) if self._clock else None
