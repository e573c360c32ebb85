"""Watches how many dead letters are kept, and for how long. Part of `admin`.

It forgets letters only where the configuration says so, and never in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tocsin.admin.letter_search import SCAN, LetterSearch
from tocsin.core.dead_letters import DeadStock, LetterHead
from tocsin.core.elapsed import elapsed_s
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import JobOperator

MANY = 20_000
RECOUNT_S = 60.0
"""Seconds between two counts of `MANY` letters, while some of them go."""

Kind = tuple[str, str]
"""Provider and reason, as letters are grouped by it."""

_log = structlog.get_logger(__name__)


class LetterObserver(Protocol):
    """Is told of each look; must not block."""

    def observe_letters(self, kept: Mapping[Kind, int], oldest_s: float) -> None:
        """How many are kept, and the age of the oldest one, 0 without any."""
        ...

    def observe_pruned(self, kind: Kind, count: int) -> None:
        """So many were forgotten, since they were too old or too many."""
        ...


@dataclass(frozen=True, slots=True)
class LetterLimits:
    """`push_notifications.dead_letters` of the configuration; 0 is no limit."""

    most: int = 0
    max_age_s: float = 0


@dataclass(slots=True)
class _Tally:
    """What was counted; `stock` says of which letters."""

    stock: DeadStock = field(default_factory=DeadStock)
    kinds: Counter[Kind] = field(default_factory=Counter)
    oldest_ms: int = 0

    def add(self, head: LetterHead) -> None:
        self.kinds[head.provider, head.group] += 1
        self.oldest_ms = min(self.oldest_ms or head.at_ms, head.at_ms)


class LetterWatch:
    """Looks at the dead letters of one queue, now and then.

    What was counted is counted no second time while letters are only added, so a look
    costs little however many there are.
    """

    def __init__(
        self,
        queue: JobOperator,
        observer: LetterObserver,
        *,
        clock: Clock,
        limits: LetterLimits,
        elapsed: Callable[[], float] = elapsed_s,
    ) -> None:
        self._queue = queue
        self._search = LetterSearch(queue)
        self._observer = observer
        self._clock = clock
        self._limits = limits
        self._elapsed = elapsed
        self._tally = _Tally()
        self._recount_at_s = 0.0

    async def look(self) -> None:
        """Forget what is beyond the limits, count the rest, and tell."""
        await self._prune()
        await self._count()
        oldest_ms = self._tally.oldest_ms
        age_ms = self._clock.now_ms() - oldest_ms if oldest_ms else 0
        self._observer.observe_letters(self._tally.kinds, max(0, age_ms) / 1000)

    async def _count(self) -> None:
        known, stock = self._tally.stock, await self._queue.count_dead()
        if stock == known:
            return
        if not stock.count:
            self._tally = _Tally()
            return
        if known.count and stock.first_id == known.first_id:
            added = [
                head async for head in self._search.all(known.last_id, stock.last_id)
            ]
            if known.count + len(added) == stock.count:
                for head in added:
                    self._tally.add(head)
                self._tally.stock = stock
                return
        await self._recount(stock)

    async def _recount(self, stock: DeadStock) -> None:
        now_s = self._elapsed()
        if stock.count >= MANY and now_s < self._recount_at_s:
            return
        self._recount_at_s = now_s + RECOUNT_S
        tally = _Tally()
        first = last = ""
        async for head in self._search.all("", stock.last_id):
            tally.add(head)
            first, last = first or head.id, head.id
        tally.stock = DeadStock(tally.kinds.total(), first, last)
        self._tally = tally

    async def _prune(self) -> None:
        most, max_age_s = self._limits.most, self._limits.max_age_s
        if max_age_s:
            before_ms = self._clock.now_ms() - int(max_age_s * 1000)

            async def find_old(heads: Sequence[LetterHead]) -> list[LetterHead]:
                return [head for head in heads if head.at_ms < before_ms]

            await self._forget_first(find_old, f"older than {max_age_s:g} s")
        if most:

            async def find_excess(heads: Sequence[LetterHead]) -> list[LetterHead]:
                # Counted after these were read: what another server forgot of them
                # meanwhile is not counted, so that both together never forget more.
                excess = (await self._queue.count_dead()).count - most
                return list(heads[: max(0, excess)])

            await self._forget_first(find_excess, f"more than {most} were kept")

    async def _forget_first(
        self,
        choose: Callable[[Sequence[LetterHead]], Awaitable[list[LetterHead]]],
        why: str,
    ) -> None:
        """Forget the oldest letters, page by page, until a page has others too."""
        gone: Counter[Kind] = Counter()
        after = ""
        try:
            while heads := await self._queue.scan_dead(limit=SCAN, after=after):
                chosen = await choose(heads)
                await self._forget(chosen, gone)
                if len(chosen) < len(heads):
                    break
                after = heads[-1].id
        finally:
            # Also where the queue is away by now: what is gone is gone.
            self._tell(gone, why)

    def _tell(self, gone: Counter[Kind], why: str) -> None:
        for (provider, reason), count in gone.items():
            self._observer.observe_pruned((provider, reason), count)
            _log.warning(
                "dead letters were forgotten, as push_notifications.dead_letters says;"
                " nobody can replay them any more",
                provider=provider,
                reason=reason,
                letters=count,
                why=why,
            )

    async def _forget(self, heads: Iterable[LetterHead], gone: Counter[Kind]) -> None:
        """Count by kind what this process has forgotten: others may prune too."""
        ids: dict[Kind, list[str]] = {}
        for head in heads:
            ids.setdefault((head.provider, head.group), []).append(head.id)
        for kind, each in ids.items():
            if count := await self._queue.purge_dead(each):
                gone[kind] += count
