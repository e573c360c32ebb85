"""Analytics: ports of the stores that keep rows, and of the buffer before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tocsin.core.analytics import Funnel, NotificationRow


class RowStore(Protocol):
    """Where gathered rows go."""

    async def append(self, rows: Sequence[NotificationRow], *, batch_id: str) -> None:
        """Store all rows, or none.

        Raises `ApiError` if that may work later, `RowsRefused` if it never will.
        After an error the rows may be stored all the same. A repetition with the same
        `batch_id` adds them once, if the store can recognize it; if not, they are
        stored twice and `fetch_funnel` still counts them once.
        """
        ...


class FunnelSource(Protocol):
    """Adds up the rows of a send."""

    async def fetch_funnel(self, uid: str) -> Funnel:
        """The funnel of that send; all zero for a uid without rows."""
        ...


class DeviceSource(Protocol):
    """Finds the rows of one recipient."""

    async def fetch_device(self, uid: str, device_id: str) -> list[NotificationRow]:
        """What was noted of this device in that send, the oldest first.

        The 100 newest rows at most; apps may report as often as they like.
        """
        ...


class AnalyticsStore(RowStore, FunnelSource, DeviceSource, Protocol):
    """A store that keeps rows for a while."""

    async def purge(self, *, before_ms: int, limit: int) -> int:
        """Delete those of the `limit` oldest rows that are older than `before_ms`.

        Unix milliseconds. Returns how many; 0 if the store deletes them by itself.
        """
        ...

    async def close(self) -> None:
        """Release what was opened."""
        ...


class RowSink(Protocol):
    """Takes single rows to be stored soon. Must not block."""

    def add(self, row: NotificationRow) -> bool:
        """Add a row; `False` if there was no room, and it is dropped."""
        ...
