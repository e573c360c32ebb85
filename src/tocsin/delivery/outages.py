"""Logs an outage of our own stores once, however many jobs meet it.

It decides nothing: code that meets a fault calls `note`, and tries again by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tocsin.core.errors import (
    ApiError,
    BrokerUnavailable,
    InternalError,
    QueueUnavailable,
)

QUEUE = "queue"
DATABASE = "database"
ENGINE = "channel engine"

QUIET_S = 3.0
"""A store counts as back once it has worked for this long without a fault. While it
comes and goes, or takes reads but no writes, it is one outage."""
REMIND_S = 300.0
"""An outage that goes on is logged again after this time."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Outage:
    began_s: float
    last_s: float
    told_s: float
    faults: int = 1


class Outages:
    """One line when a store goes, one when it is back; belongs to one process."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._away: dict[str, _Outage] = {}

    def note(self, error: ApiError, *, doing: str) -> None:
        """A store failed while `doing` this; logged unless its outage is known."""
        store, now_s = store_of(error), self._now_s()
        outage = self._away.get(store)
        if outage is None:
            self._away[store] = _Outage(now_s, now_s, now_s)
        else:
            outage.last_s = now_s
            outage.faults += 1
            if now_s - outage.told_s < REMIND_S:
                return
            outage.told_s = now_s
        more: dict[str, object] = {}
        if outage is not None:
            more = {"away_s": round(now_s - outage.began_s), "faults": outage.faults}
        _log.warning(
            "an own store cannot be used; its work waits and is tried again, no attempt"
            " is used up",
            store=store,
            doing=doing,
            error=error.message,
            reason=error.reason if isinstance(error, InternalError) else "",
            **more,
        )

    def fine(self, store: str) -> None:
        """The store answered; cheap, since it is called after each success."""
        outage = self._away.get(store)
        if outage is None:
            return
        now_s = self._now_s()
        if now_s - outage.last_s < QUIET_S:
            return
        del self._away[store]
        _log.info(
            "an own store is back",
            store=store,
            away_s=round(now_s - outage.began_s, 1),
            faults=outage.faults,
        )


def store_of(error: ApiError) -> str:
    """The store that a fault belongs to."""
    if isinstance(error, QueueUnavailable):
        return QUEUE
    if isinstance(error, BrokerUnavailable):
        return ENGINE
    return DATABASE
