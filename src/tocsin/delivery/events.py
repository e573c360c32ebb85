"""Writes down what becomes of a send as a whole, where analytics keeps rows.

What becomes of single recipients is told by settlement.
"""

from __future__ import annotations

from tocsin.core.analytics import SendEvent, event_row
from tocsin.core.ports.analytics import RowSink
from tocsin.core.ports.clock import Clock
from tocsin.core.push import Job, Payload


class EventLog:
    """Rows about sends; without a sink nothing is kept."""

    def __init__(self, rows: RowSink | None, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    @property
    def is_on(self) -> bool:
        """Whether it is worth to look a payload up."""
        return self._rows is not None

    def tell(
        self,
        event: SendEvent,
        job: Job,
        payload: Payload | None,
        *,
        due_ms: int = 0,
        reason: str = "",
    ) -> None:
        """Add a row, which is stored soon; a full buffer drops and counts it."""
        if self._rows is None or payload is None:
            return
        self._rows.add(
            event_row(
                event,
                payload.analytics_uid or payload.uid,
                at_ms=self._clock.now_ms(),
                due_ms=due_ms,
                provider=job.provider,
                type=job.recipient_type.value,
                reason=reason,
            )
        )
