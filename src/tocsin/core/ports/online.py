"""Where the corridors meet: who was reached in a channel by what a push published."""

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
    """Who was reached in a channel by what a push published, over all nodes.

    What is kept of a push is forgotten `ttl_s` after its last use. Raises
    `InternalError` while it is away.
    """

    async def add(
        self, push_id: str, users: Collection[str], stage: Stage, *, ttl_s: int
    ) -> None:
        """Add users and note the stage; both are seen at once or not at all.

        An earlier stage than the one that stands changes nothing but the users.
        """
        ...

    async def fetch_stage(self, push_id: str, *, ttl_s: int) -> Stage:
        """The stage; `UNKNOWN` also for what was forgotten."""
        ...

    async def find(
        self, push_id: str, users: Collection[str], *, ttl_s: int
    ) -> frozenset[str]:
        """Those of `users` who were reached."""
        ...


class OnlinePublisher(Protocol):
    """Publishes what a push sends to a channel first."""

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
