"""Tells stage one which users a push leaves out, since a channel reached them.

It publishes nothing and reads no devices. In doubt nobody is left out: a message that
comes twice is better than one that never comes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import structlog

from tocsin.core.errors import ApiError
from tocsin.core.ports.channels import PresenceStore
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.online import ReachedStore, Stage
from tocsin.core.push import Expand, ExpandJob, OnlineCheck

PUBLISH_GRACE_MS = 5000
"""After the wait of `online_first` the server may need this long to publish; if it has
not by then, it is taken for dead."""
LOOK_AGAIN_MS = 100
RETRY_MS = 1000
PATIENCE_MS = 30_000
"""How long a walk waits for a channel engine that is away, over all its pages."""
KEPT_S = 900
"""How long the users that were reached are remembered after their last use."""
_BEFORE_EXPIRY_MS = 1000
"""Waiting ends this long before a push expires, so that it can still be sent."""
TOLD_AGAIN_MS = 30_000
"""An outage of the engine is logged at most this often, for all walks together."""

_log = structlog.get_logger(__name__)


class PutOff(Exception):
    """Put `job` back into the queue, due at `due_ms` (Unix milliseconds)."""

    def __init__(self, job: ExpandJob, due_ms: int) -> None:
        super().__init__("not yet")
        self.job = job
        self.due_ms = due_ms


class OnlineUsers:
    """Finds for each page of a walk the users whom the channel reached."""

    def __init__(
        self, presence: PresenceStore, reached: ReachedStore, clock: Clock
    ) -> None:
        self._presence = presence
        self._reached = reached
        self._clock = clock
        self._told_at_ms = 0

    async def decide(self, job: ExpandJob, check: OnlineCheck) -> bool:
        """Look into the channel a second time, unless another walk or page did so.

        The publisher looked first. Users who are there now count as reached, if
        anything was published at all. Walks that begin at the same moment may all
        look; a user found by any of them counts.
        Raises `PutOff` while the answer is not known, for a bounded time. `False`
        means that the engine was away for longer than `PATIENCE_MS`.
        """
        try:
            stage = await self._reached.fetch_stage(job.push_id, ttl_s=KEPT_S)
            if stage is Stage.DECIDED:
                return True
            if stage is Stage.UNKNOWN:
                self._wait_for_publisher(job, check)
                users: Collection[str] = ()
            else:
                users = await self._look(job, check.channel)
            await self._reached.add(job.push_id, users, Stage.DECIDED, ttl_s=KEPT_S)
        except ApiError as error:
            self._wait_for_engine(job, check, error)
            return False
        return True

    async def find(
        self, job: ExpandJob, check: OnlineCheck, users: Collection[str]
    ) -> frozenset[str] | None:
        """Those of `users` who were reached; raises `PutOff` as `decide` does.

        `None` if the engine was away for too long, so that nobody is known.
        """
        known = {user for user in users if user}
        if not known:
            return frozenset()
        try:
            return await self._reached.find(job.push_id, known, ttl_s=KEPT_S)
        except ApiError as error:
            self._wait_for_engine(job, check, error)
            return None

    async def _look(self, job: ExpandJob, channel: str) -> set[str]:
        return users_among(await fetch_users(self._presence, channel), job.work)

    def _wait_for_publisher(self, job: ExpandJob, check: OnlineCheck) -> None:
        now_ms = self._clock.now_ms()
        if now_ms < _end_ms(job, check.due_ms + PUBLISH_GRACE_MS):
            raise PutOff(job, now_ms + LOOK_AGAIN_MS)
        _log.warning(
            "nothing shows that this push was published to its channel first; it goes"
            " to everybody",
            push_id=job.push_id,
            channel=check.channel,
        )

    def _wait_for_engine(
        self, job: ExpandJob, check: OnlineCheck, error: ApiError
    ) -> None:
        now_ms = self._clock.now_ms()
        since_ms = job.first_try_at_ms or now_ms
        if now_ms < _end_ms(job, since_ms + PATIENCE_MS):
            # Below zero the clock was set back, which must not keep the line away.
            if not 0 <= now_ms - self._told_at_ms < TOLD_AGAIN_MS:
                self._told_at_ms = now_ms
                _log.warning(
                    "who is online cannot be read, trying again",
                    push_id=job.push_id,
                    channel=check.channel,
                    error=error.message,
                )
            raise PutOff(replace(job, first_try_at_ms=since_ms), now_ms + RETRY_MS)
        _log.error(
            "who is online cannot be read; the push goes to everybody of this page."
            " See that engine.redis can be reached from the worker",
            push_id=job.push_id,
            channel=check.channel,
            error=error.message,
        )


async def fetch_users(presence: PresenceStore, channel: str) -> set[str]:
    """The users in a channel, without clients that have no user."""
    entries = await presence.fetch(channel)
    return {info.user for info in entries.values() if info.user}


def users_among(users: set[str], work: Expand) -> set[str]:
    """Those that the walk may meet: all, unless its filter names users."""
    return users.intersection(work.filter.users) if work.filter.users else users


def _end_ms(job: ExpandJob, end_ms: int) -> int:
    """`end_ms`, or shortly before the push expires: while it waits it would be lost."""
    if job.expire_at_ms:
        return min(end_ms, job.expire_at_ms - _BEFORE_EXPIRY_MS)
    return end_ms
