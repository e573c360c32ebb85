"""Push services: one credential behind one verb, and the tokens it presents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome
from tocsin.core.push import Body, TargetKind


@dataclass(frozen=True, slots=True)
class SharedToken:
    """A token that a process made, and when, in Unix milliseconds."""

    value: str = field(repr=False)
    made_at_ms: int


TOKEN_AHEAD_MS = 15 * 60_000
"""A token made this long after now comes from a clock that is wrong."""


class TokenStore(Protocol):
    """Where processes agree on the tokens that they present to a push service."""

    async def agree(
        self, name: str, offered: SharedToken, *, made_after_ms: int, ttl_s: float
    ) -> SharedToken:
        """The token under this name that was made after `made_after_ms`.

        Where there is none, or only an older one, `offered` takes its place. Of several
        offers at once exactly one wins and all get it. A token that was made more than
        `TOKEN_AHEAD_MS` after the store's now is never kept, and an offer like that is
        handed back: its maker's clock is wrong. A token is forgotten after `ttl_s`.
        Raises `ApiError` when the store cannot be reached.
        """
        ...


class Pace(Protocol):
    """Tells a provider whether it may start one more request."""

    def ready(self) -> bool:
        """Whether the next request may start now; cheap, called per recipient."""
        ...

    async def wait(self) -> bool:
        """Wait until `ready`; `False` means stop: start no further request."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What a provider gets: the message, and its recipients.

    `pending` are the indexes of `targets` to send to, in order. Where each recipient
    has a rendered message of its own, `bodies` runs parallel to `targets`; else all
    get `body`. `deadline_ms` is Unix milliseconds, 0 for none. `validate_only` asks
    the provider to check without delivering. Where several batches wait for the same
    connections, the one with the highest `priority` has most turns, and each has some.
    """

    body: Body
    kind: TargetKind
    targets: Sequence[str]
    pending: Sequence[int]
    deadline_ms: int = 0
    validate_only: bool = False
    bodies: Sequence[Body] | None = None
    priority: Priority = Priority.NORMAL


Report = Callable[[int, Outcome], None]
"""Takes the index of a target and its outcome, once per index started."""


class PushProvider(Protocol):
    """One configured credential of one push service."""

    name: str
    integration: str
    batch_size: int

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """Send to all pending targets, as fast as `pace` lets it.

        Returns when every request that was started has been reported. Faults
        of single recipients, of the credential or of the network are outcomes,
        never exceptions. After `pace.wait()` returned `False` the rest is left
        unreported. Credential refresh (once, on 401) happens inside.
        """
        ...

    async def close(self) -> None:
        """Close connections; called once, with no send under way."""
        ...


@runtime_checkable
class Expiring(Protocol):
    """A provider whose credential may expire, such as a certificate."""

    credential_expires_at_s: float | None
    """Unix seconds; `None` where it never does."""
