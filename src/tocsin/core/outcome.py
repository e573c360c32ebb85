"""What a provider said about one recipient. Pure values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Verdict(StrEnum):
    """All kinds of results; what follows from each is decided in settlement."""

    DELIVERED = "delivered"
    """The provider accepted the message."""
    UNREGISTERED = "unregistered"
    """Definite: the token is dead."""
    SUSPECT = "suspect"
    """Guarded: the token looks dead, but a wrong configuration would look the same."""
    RETRY = "retry"
    """A temporary fault of the provider, or of the network between."""
    REJECTED = "rejected"
    """This message can never be sent as it is; the token stays."""
    MISCONFIGURED = "misconfigured"
    """The credential or its set-up is wrong; a person has to act."""


TOKEN_LETTERS: Mapping[Verdict, str] = MappingProxyType(
    {Verdict.DELIVERED: "d", Verdict.SUSPECT: "s", Verdict.UNREGISTERED: "u"}
)
"""The letters, in a history of answers, of the verdicts that say something of a token.

Other verdicts do not: a message that was refused may never have been checked that far.
"""


DETAIL_LIMIT = 400
"""Characters of a provider's words that are kept."""
ID_LIMIT = 1_024
"""Characters of the longest id of a message; a longer text is no id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one recipient of a batch.

    `code` is a stable lower-case word for metrics (`unregistered`,
    `quota_exceeded`, `timeout`), `detail` the provider's error text for a log.
    Texts of providers go to logs, rows and dead letters, which take no half characters
    or NULs: what cannot be printed is replaced in a detail, which is cut after
    `DETAIL_LIMIT` characters, and makes a `message_id` unusable, so that it is empty.
    `provider_code` is the provider's own word or status, one word. `unique_id` is the
    id by which Apple's console finds a push.
    `retry_after_s` is how long the provider asks to wait, in seconds. `slow_down`
    marks an answer about the whole credential, not about one device or platform:
    sending through the credential pauses.
    `of_body` marks a refusal of the message itself, which every other recipient of the
    same message would get. `maybe_sent` marks a fault after the request had left: a
    retry may be a duplicate. `gone_at_ms` is when the token died by the provider's
    account (APNs 410), in Unix milliseconds.
    """

    verdict: Verdict
    code: str = ""
    detail: str = ""
    message_id: str = ""
    retry_after_s: float | None = None
    slow_down: bool = False
    of_body: bool = False
    maybe_sent: bool = False
    gone_at_ms: int | None = None
    provider_code: str = ""
    unique_id: str = ""

    def __post_init__(self) -> None:
        """Keep of foreign texts what can be written down."""
        if self.detail and not (
            len(self.detail) <= DETAIL_LIMIT and self.detail.isprintable()
        ):
            object.__setattr__(self, "detail", _printable(self.detail[:DETAIL_LIMIT]))
        if self.message_id and not (
            len(self.message_id) <= ID_LIMIT and self.message_id.isprintable()
        ):
            object.__setattr__(self, "message_id", "")


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() else " " if char.isspace() else "\ufffd"
        for char in text
    )


DELIVERED = Outcome(Verdict.DELIVERED)
"""For providers whose success carries nothing else worth keeping."""

Result = tuple[int, Outcome, int]
"""Index of a recipient in its batch, its outcome, Unix milliseconds of the answer.

A tuple, since one is made for every push and a tuple is the cheapest.
"""
