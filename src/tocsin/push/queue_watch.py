"""Push room: notices that the queue lost data, and reports it for a day.

It repairs nothing: `Repair` does, and `SendLogKeeper` has it look when a loss is found.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from tocsin.core.errors import ApiError
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import QueuePosition, QueueServer
from tocsin.core.ports.sends import (
    LOSS_TOLD_ONCE_MS,
    Entered,
    QueueMark,
    QueueMarkStore,
)

NAMED_FOR_MS = 24 * 3_600_000
"""How long `notices` reports a loss."""

REPLACED = "replaced"
WENT_BACK = "went_back"
REGISTRY_WENT_BACK = "registry_went_back"

OnLoss = Callable[[str], None]
"""Called once for each loss: `replaced`, `went_back` or `registry_went_back`."""

_REPLACED = (
    "the queue lost accepted work: what it held was replaced by other data (it was"
    " restarted without its files, flushed, or another server answers at its address)"
)
_WENT_BACK = (
    "the queue lost accepted work: it is where it was {missing} accepted sends ago (the"
    " end of its files was cut off, an older backup is in place, or a replica that"
    " lagged has taken over)"
)
_REGISTRY = (
    "the registry's database lost data: it is older than what this process wrote (an"
    " older backup is in place, or a replica that lagged has taken over)"
)
_log = structlog.get_logger(__name__)


class QueueWatch:
    """Compares the queue with what the registry remembers of it.

    `place` is where the queue is, without passwords. Other data at the same place is a
    loss; a queue at another place is a move. `check` is called every few seconds, by
    one task.
    """

    def __init__(
        self,
        queue: QueueServer,
        marks: QueueMarkStore,
        *,
        place: str,
        clock: Clock,
        on_loss: OnLoss = lambda _: None,
    ) -> None:
        self._queue = queue
        self._marks = marks
        self._place = place
        self._clock = clock
        self._on_loss = on_loss
        # Of the last look: `QueuePosition.missing` that was reported, and `reached`.
        self._missing = self._reached = 0
        self._mark = QueueMark("")
        self._registry_lost_at_ms = 0
        # A loss that this process found while the registry was away. It is dropped
        # with the next look that reaches the registry, which notes it then.
        self._alone, self._alone_at_ms = "", 0

    @property
    def epoch(self) -> str:
        """The epoch of the queue's data at the last look; empty before the first."""
        return self._mark.epoch

    @property
    def lost_at_ms(self) -> int:
        """When the last loss of the queue was found, in Unix ms; 0 for never."""
        return self._alone_at_ms or self._mark.lost_at_ms

    def notices(self) -> dict[str, str]:
        """What was lost within the last day, by `queue` and `database`."""
        found = (
            ("queue", self.lost_at_ms, self._alone or self._mark.lost),
            ("database", self._registry_lost_at_ms, _REGISTRY),
        )
        oldest_ms = self._clock.now_ms() - NAMED_FOR_MS
        return {
            store: f"{text}; found at {_utc(at_ms)}"
            for store, at_ms, text in found
            if at_ms > oldest_ms
        }

    async def check(self) -> None:
        """Look once; raises `ApiError` while the queue or the registry is away."""
        # The mark is read before the queue. In the other order, sends that others
        # accept in between would raise the mark above the position, like a loss.
        try:
            mark = await self._marks.fetch(self.epoch) if self.epoch else None
        except ApiError:
            await self._look_alone()
            raise
        position = await self._queue.position()
        if position.epoch != self.epoch:
            await self._enter(position)
            # Read again, for the same reason: the mark first, then the queue.
            mark, position = self._mark, await self._queue.position()
        elif mark is None or self._is_older(mark):
            mark = await self._remember_registry_loss(mark)
        # Two witnesses: the mark, which others raised too, and this process itself,
        # which may know of sends that no mark has yet.
        missing = max(
            mark.accepted - position.reached, position.missing - self._missing
        )
        if missing > 0:
            mark = await self._report(mark, position, missing)
        elif position.certain > mark.accepted:
            now_ms = self._clock.now_ms()
            await self._marks.advance(mark.epoch, position.certain, now_ms=now_ms)
            mark = QueueMark(mark.epoch, position.certain, mark.lost_at_ms, mark.lost)
        self._mark, self._reached = mark, position.reached
        self._alone, self._alone_at_ms = "", 0

    async def is_lost(self, epoch: str) -> bool:
        """Whether data of this epoch was at the queue's place and was replaced.

        `False` if the queue has moved: its data is moved too, or still at the old
        place.
        """
        return await self._marks.is_replaced(epoch)

    async def find_epoch(self) -> str:
        """`epoch`, looked up if it is not known yet; raises `ApiError`."""
        if not self.epoch:
            await self.check()
        return self.epoch

    async def _look_alone(self) -> None:
        """Report once, without the registry, a loss that this process alone can see."""
        position = await self._queue.position()
        # Nothing to compare with before the first look; and one report is enough.
        if not self.epoch or self._alone_at_ms:
            return
        missing = position.missing - self._missing
        if position.epoch != self.epoch and (self._reached > 0 or missing > 0):
            kind, text = REPLACED, _REPLACED
        elif missing > 0:
            kind, text = WENT_BACK, _WENT_BACK.format(missing=missing)
        else:
            return
        self._alone, self._alone_at_ms = text, self._clock.now_ms()
        self._tell(kind, text)

    async def _enter(self, position: QueuePosition) -> None:
        entered = await self._marks.enter(
            position.epoch,
            self._place,
            lost=_REPLACED,
            now_ms=self._clock.now_ms(),
            before=self.epoch,
            had_work=self._reached > 0 or position.missing > self._missing,
        )
        self._mark = entered.mark
        self._missing = position.missing
        if entered.is_loss:
            # Unless it was reported while the registry was away.
            if not self._alone_at_ms:
                self._tell(REPLACED, _REPLACED, epoch=position.epoch)
        elif entered.is_moved:
            _log.warning(
                "the queue is another one than before: move what the old one holds with"
                " `tocsin queue drain`, unless that is done",
                place=self._place,
            )

    def _is_older(self, mark: QueueMark) -> bool:
        """Whether the mark is lower than before, though no loss was noted to lower it.

        That is so if the registry itself went back.
        """
        known = self._mark
        return mark.accepted < known.accepted and mark.lost_at_ms <= known.lost_at_ms

    async def _remember_registry_loss(self, mark: QueueMark | None) -> QueueMark:
        self._registry_lost_at_ms = now_ms = self._clock.now_ms()
        self._tell(REGISTRY_WENT_BACK, _REGISTRY)
        if mark is None:
            entered = await self._marks.enter(
                self.epoch, self._place, lost=_REGISTRY, now_ms=now_ms
            )
            mark = entered.mark
        # Back to what this process knows, or a loss of the queue would not show.
        await self._marks.advance(mark.epoch, self._mark.accepted, now_ms=now_ms)
        accepted = max(mark.accepted, self._mark.accepted)
        return QueueMark(mark.epoch, accepted, mark.lost_at_ms, mark.lost)

    async def _report(
        self, mark: QueueMark, position: QueuePosition, missing: int
    ) -> QueueMark:
        now_ms, text = self._clock.now_ms(), _WENT_BACK.format(missing=missing)
        is_first = await self._marks.report_loss(
            mark.epoch, reached=position.reached, lost=text, now_ms=now_ms
        )
        self._missing = position.missing
        if is_first and not self._alone_at_ms:
            self._tell(WENT_BACK, text, missing=missing)
        # Read again: if another process noted the loss first, its note stands.
        found = await self._marks.fetch(mark.epoch)
        return found or QueueMark(mark.epoch, position.reached, now_ms, text)

    def _tell(self, kind: str, text: str, **more: object) -> None:
        self._on_loss(kind)
        _log.error(
            text,
            kind=kind,
            place=self._place,
            see="docs/howto/run-it-at-night.md",
            **more,
        )


class ProcessQueueMarks:
    """`QueueMarkStore` in memory, for a process without a database."""

    def __init__(self) -> None:
        self._marks: dict[str, QueueMark] = {}
        self._current = ""

    async def fetch(self, epoch: str) -> QueueMark | None:
        """See the port."""
        return self._marks.get(epoch)

    async def enter(
        self,
        epoch: str,
        place: str,  # noqa: ARG002 - a process has one queue
        *,
        lost: str,
        now_ms: int,
        before: str = "",
        had_work: bool = False,
    ) -> Entered:
        """See the port."""
        mark = self._marks.get(epoch, QueueMark(epoch))
        replaced = self._marks.get(self._current, mark)
        knows_work = had_work and before == replaced.epoch
        is_loss = replaced is not mark and (knows_work or replaced.accepted > 0)
        if is_loss:
            mark = QueueMark(epoch, mark.accepted, now_ms, lost)
        self._marks[epoch], self._current = mark, epoch
        return Entered(mark, is_loss=is_loss, is_moved=False)

    async def advance(
        self,
        epoch: str,
        accepted: int,
        *,
        now_ms: int,  # noqa: ARG002 - only several places are compared by it
    ) -> None:
        """See the port."""
        mark = self._marks[epoch]
        if accepted > mark.accepted:
            self._marks[epoch] = QueueMark(epoch, accepted, mark.lost_at_ms, mark.lost)

    async def report_loss(
        self, epoch: str, *, reached: int, lost: str, now_ms: int
    ) -> bool:
        """See the port."""
        mark = self._marks[epoch]
        is_first = mark.lost_at_ms <= now_ms - LOSS_TOLD_ONCE_MS
        if is_first:
            at_ms, text = now_ms, lost
        else:
            is_lower = reached < mark.accepted
            # A mark that is lowered gets a later time, whatever the clock says: see
            # the port for what an equal time would mean.
            at_ms = max(now_ms, mark.lost_at_ms + 1) if is_lower else mark.lost_at_ms
            text = mark.lost
        accepted = min(mark.accepted, reached)
        self._marks[epoch] = QueueMark(epoch, accepted, at_ms, text)
        return is_first

    async def is_replaced(self, epoch: str) -> bool:
        """See the port; a process has one place, so any other epoch was replaced."""
        return epoch != self._current


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
