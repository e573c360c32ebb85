"""Where the corridors meet: the users whom a push reached in a channel first."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Protocol

from tocsin.core.push import OnlineFirst


class Stage(StrEnum):
    """How far a push that is published first has come; it never goes back."""

    UNKNOWN = ""
    """Nothing proves that anything was published."""
    PUBLISHED = "published"
    """It is in the channel."""
    DECIDED = "decided"
    """It is settled who gets no push; nothing must be published any more."""


class ReachedStore(Protocol):
    """The users whom a push reached in a channel, over all nodes.

    The users of a push are forgotten `ttl_s` seconds after their last use. Raises
    `InternalError` while the store is away.
    """

    async def add(
        self, push_id: str, users: Collection[str], stage: Stage, *, ttl_s: int
    ) -> None:
        """Add users and note the stage, in one atomic step.

        A stage before the present one is ignored; the users are added all the same.
        """
        ...

    async def fetch_stage(self, push_id: str, *, ttl_s: int) -> Stage:
        """The stage; `UNKNOWN` also for a push that was forgotten."""
        ...

    async def find(
        self, push_id: str, users: Collection[str], *, ttl_s: int
    ) -> frozenset[str]:
        """Those of `users` who were reached."""
        ...


class OnlinePublisher(Protocol):
    """Publishes to a channel before a push."""

    def check(self, request: OnlineFirst) -> None:
        """Raise the errors of the Publish call, and `NotAvailable`.

        `NotAvailable` is for channels without presence.
        """
        ...

    async def publish(
        self,
        request: OnlineFirst,
        *,
        push_id: str,
        among: Collection[str],
        again: bool,
    ) -> None:
        """Publish, then note who is there; of users only `among`, unless empty.

        With `again` an earlier call may have published already; then it is not done a
        second time. Raises nothing: the push is queued, and goes to everybody who is
        not noted as reached.
        """
        ...
