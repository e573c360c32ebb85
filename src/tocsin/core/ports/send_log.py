"""Ports of the send log: every send is a row before it is work in the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin.core.accounts import Account
from tocsin.core.push import Job, Payload
from tocsin.core.send_log import Accepting, Progress, SendRecord, Taken


@dataclass(frozen=True, slots=True)
class OpenSend:
    """A send that is not over, with what it takes to queue it again.

    `jobs` are its first ones, as they were queued.
    """

    record: SendRecord
    payload: Payload
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class SendQuery:
    """Which sends to list, the newest first; what is empty does not count.

    `before` is the push id of the last one on the page before.
    """

    uid: str = ""
    progress: tuple[Progress, ...] = ()
    since_ms: int = 0
    until_ms: int = 0
    before: str = ""
    limit: int = 100


class SendAcceptor(Protocol):
    """The log as who accepts a send sees it."""

    async def accept(self, accepting: Accepting) -> Taken:
        """Write the send down, and claim its uid, in one transaction.

        With a fingerprint the uid is claimed as `UidStore.claim` says; a send whose uid
        is taken is not written. Raises `Conflict(UID_TAKEN)` when the content differs.
        """
        ...

    async def accept_again(self, accepting: Accepting) -> None:
        """Write down a send whose caller was told an error before, and who repeats it.

        Its uid is claimed already. Also one that has no row.
        """
        ...

    async def refuse(self, push_id: str) -> None:
        """The work could not be queued, and the caller is told an error.

        The uid stays claimed, for a repeat. A send whose work was seen in the queue
        meanwhile stays as it is.
        """
        ...

    async def fetch(self, *, uid: str = "", push_id: str = "") -> SendRecord | None:
        """The send with this uid or push id, or `None`."""
        ...

    async def find_open(self, push_ids: Sequence[str]) -> list[OpenSend]:
        """Of these, the sends that are not over."""
        ...

    async def plan_repair(
        self,
        push_id: str,
        *,
        seen: Mapping[str, int],
        accounts: Mapping[str, Account],
        epoch: str,
        note: str = "",
    ) -> bool:
        """Write down what is about to be queued again, instead of what was lost.

        `seen` are the generations and versions that the plan was made from: with any
        other ones, or a send that is over, nothing is written and `False` returned.
        Where all `accounts` have ended, the send is over. What was read from the queue
        before is not written over it: see `write_accounts`.
        """
        ...


class SendSource(Protocol):
    """The log as readers see it."""

    async def fetch(self, *, uid: str = "", push_id: str = "") -> SendRecord | None:
        """The send with this uid or push id, or `None`."""
        ...

    async def list_sends(self, query: SendQuery) -> list[SendRecord]:
        """Sends, the newest first."""
        ...

    async def count_open(self) -> int:
        """How many sends are not over."""
        ...


class SendLog(SendAcceptor, SendSource, Protocol):
    """The log as its keeper sees it; one process at a time keeps it."""

    async def hold(self, owner: str, *, ttl_s: float) -> int | None:
        """Become its keeper, or stay it, for `ttl_s`; `None` while another one is.

        Returns a number that rises with each call, of any keeper.
        """
        ...

    async def raise_fence(self, fence: int) -> None:
        """Make the number of `hold` rise from at least this one on."""
        ...

    async def write_accounts(
        self, accounts: Mapping[str, Account], *, fence: int, epoch: str
    ) -> bool:
        """Take over what the queue of this epoch has counted.

        Sends without a row are left out. A queue has one account of a send: what was
        planned under another name (`Account.is_planned`) was not queued and is dropped.

        Where a later keeper has written a row, by its `fence`, or a repair was planned
        since `hold` gave that number, nothing is written and `False` returned.
        """
        ...

    async def fetch_unseen(self, *, before_ms: int, limit: int) -> list[str]:
        """Push ids of open sends of before, whose account was never written."""
        ...

    async def fetch_open(self, *, after: str, limit: int) -> list[str]:
        """Push ids of open sends, in their order, after the given one."""
        ...

    async def end_unknown(self, push_ids: Sequence[str], *, note: str) -> int:
        """End open sends whose outcome cannot be known any more; returns how many.

        What is open of them counts as unconfirmed.
        """
        ...

    async def purge(self, *, before_ms: int, limit: int) -> int:
        """Forget sends that ended before; returns how many."""
        ...
