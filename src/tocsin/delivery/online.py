"""Tells stage one which users a push need not reach: they were in the channel.

It publishes nothing and reads no devices. In doubt nobody is spared: better twice
than never.
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
"""So long after the wait the server may still be publishing; then it is dead."""
LOOK_AGAIN_MS = 100
RETRY_MS = 1000
PATIENCE_MS = 30_000
"""So long a walk waits for a channel engine that is away, all its pages together."""
KEPT_S = 900
"""How long it is kept who was reached, from the last use on."""
_BEFORE_EXPIRY_MS = 1000
TOLD_AGAIN_MS = 30_000
"""An engine that is away is told of so often, however many walks wait for it."""

_log = structlog.get_logger(__name__)


class PutOff(Exception):
    """The job has to come back at `due_ms` (Unix milliseconds), as it is here."""

    def __init__(self, job: ExpandJob, due_ms: int) -> None:
        super().__init__("not yet")
        self.job = job
        self.due_ms = due_ms


class OnlineUsers:
    """Knows for each page of a walk who was reached."""

    def __init__(
        self, presence: PresenceStore, reached: ReachedStore, clock: Clock
    ) -> None:
        self._presence = presence
        self._reached = reached
        self._clock = clock
        self._told_at_ms = 0

    async def decide(self, job: ExpandJob, check: OnlineCheck) -> bool:
        """Take the second look into the channel, unless another walk or page has.

        Whoever is there now counts as reached, if anything was published at all. Of
        walks that begin at the same moment several may look; who is found by any of
        them counts.
        Raises `PutOff` while that is not known, for a bounded time: `False` says
        that patience with an engine that is away has ended.
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
        """Those of `users` who were reached; raises `PutOff` as `decide`.

        `None` when patience has ended, and nobody is known.
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
    """The users in a channel, without those of no name."""
    entries = await presence.fetch(channel)
    return {info.user for info in entries.values() if info.user}


def users_among(users: set[str], work: Expand) -> set[str]:
    """Those that the walk can meet at all, as far as its filter names them."""
    return users.intersection(work.filter.users) if work.filter.users else users


def _end_ms(job: ExpandJob, end_ms: int) -> int:
    """When waiting has to end; a push that expires meanwhile would be lost."""
    if job.expire_at_ms:
        return min(end_ms, job.expire_at_ms - _BEFORE_EXPIRY_MS)
    return end_ms
