"""Analytics: where rows of what happened are kept, and how they come there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tocsin.core.analytics import Funnel, NotificationRow


class RowStore(Protocol):
    """Where gathered rows go."""

    async def append(self, rows: Sequence[NotificationRow], *, batch_id: str) -> None:
        """Store all rows, or none.

        Raises `ApiError` when that may work later, `RowsRefused` when it never
        will. After an error the rows may be stored all the same; a repetition
        with the same `batch_id` adds them once where the store can tell, and
        `fetch_funnel` counts them once anyway.
        """
        ...


class FunnelSource(Protocol):
    """What rows of a send add up to."""

    async def fetch_funnel(self, uid: str) -> Funnel:
        """What became of that send; all zero for a uid without rows."""
        ...


class AnalyticsStore(RowStore, FunnelSource, Protocol):
    """Where rows are kept, for a while."""

    async def purge(self, *, before_ms: int, limit: int) -> int:
        """Forget rows older than that Unix millisecond, among the `limit` oldest.

        Returns how many; 0 where the store forgets by itself.
        """
        ...

    async def close(self) -> None:
        """Release what was opened."""
        ...


class RowSink(Protocol):
    """Takes single rows to be stored soon. Must not block."""

    def add(self, row: NotificationRow) -> bool:
        """Whether there was room for it."""
        ...
