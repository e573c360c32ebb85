"""What the registry keeps of results, in one order for all readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin.core.results import ResultEvent, ResultFilter


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Some events in their order.

    A reader goes on after `position`: nothing up to there fits that is not in a page.
    `last` is the newest position there is, `forgotten` the newest that is not kept any
    more; 0 for none.
    """

    events: Sequence[ResultEvent]
    position: int
    last: int = 0
    forgotten: int = 0


class ResultStore(Protocol):
    """Events are only added, and forgotten by age.

    Positions rise by one with each event, in the order in which events become visible:
    whoever has read up to a position never finds anything new before it.
    """

    async def add(self, events: Sequence[ResultEvent]) -> None:
        """Keep these, all or none."""
        ...

    async def fetch(
        self, after: int, *, limit: int, chosen: ResultFilter | None = None
    ) -> ResultPage:
        """Events after this position that fit, oldest first."""
        ...

    async def forget(self, *, before_ms: int, limit: int) -> int:
        """Forget the oldest, as far as they were kept before this; returns how many."""
        ...
