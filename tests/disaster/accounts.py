"""What became of every recipient of every accepted send, by what the provider saw."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tests.disaster.callers import Record
from tests.disaster.witness import REJECTED, Pair

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: its send's uid, its tokens (none: a whole walk), its reason."""

    uid: str
    tokens: frozenset[str]
    reason: str


@dataclass
class Account:
    """Recipients of accepted sends, each counted once by how it ended.

    `twice` are those that got a send more than once, `extra` the messages beyond one.
    `halved` are sends without an answer, or cancelled, that some recipients got and
    others did not.
    """

    accepted: int = 0
    delivered: int = 0
    twice: int = 0
    extra: int = 0
    removed: int = 0
    expired_of: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    dead: int = 0
    lost: dict[str, list[str]] = field(default_factory=dict)
    halved: list[str] = field(default_factory=list)
    unanswered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def expired(self) -> int:
        return self.expired_of.total()

    @property
    def num_lost(self) -> int:
        return sum(map(len, self.lost.values()))

    def line(self) -> str:
        """The counts, in one line."""
        return (
            f"accepted {self.accepted}  delivered {self.delivered}"
            f"  twice {self.twice}  removed {self.removed}  expired {self.expired}"
            f"  cancelled {self.cancelled}  dead-lettered {self.dead}"
            f"  LOST {self.num_lost}"
        )

    def details(self) -> Iterable[str]:
        """Which sends and recipients were lost, and what else is odd."""
        for send, tokens in self.lost.items():
            more = f" and {len(tokens) - SHOWN} more" if len(tokens) > SHOWN else ""
            yield f"lost of {send}: {' '.join(tokens[:SHOWN])}{more}"
        yield from self.halved


def settle_accounts(
    records: Iterable[Record],
    got: Mapping[Pair, int],
    refused: Mapping[Pair, str],
    removed_tokens: Collection[str],
    letters: Collection[Letter],
) -> Account:
    """Count; to be called when nothing is left to do."""
    account = Account()
    account.reasons.update(letter.reason.partition(":")[0] for letter in letters)
    now_s = time.time()
    for record in records:
        send = record.send
        counts = [got.get((send.name, token), 0) for token in send.tokens]
        reached = sum(1 for count in counts if count)
        if not record.accepted:
            account.unanswered += 1
            missing = _unexplained(record, got, refused, removed_tokens, letters)
            if reached and missing and not record.expires_at:
                account.halved.append(
                    f"{send.name} was not answered; {reached} got it and"
                    f" {len(missing)} did not"
                )
            continue
        account.accepted += len(send.tokens)
        account.delivered += reached
        account.twice += sum(1 for count in counts if count > 1)
        account.extra += sum(count - 1 for count in counts if count > 1)
        lost = []
        dead = _dead_tokens(record, letters)
        for token, count in zip(send.tokens, counts, strict=True):
            if count:
                continue
            if token in dead or refused.get((send.name, token)) in REJECTED:
                # Its letter may be gone with the store that had it.
                account.dead += 1
            elif (send.name, token) in refused or token in removed_tokens:
                account.removed += 1
            elif record.expires_at and record.expires_at < now_s:
                account.expired_of[send.name] += 1
            elif record.cancelled and not reached:
                account.cancelled += 1
            else:
                lost.append(token)
        if lost:
            name = f"{send.name} (uid {', '.join(sorted(record.uids))})"
            account.lost[name] = lost
            if record.cancelled:
                account.halved.append(f"{send.name} was cancelled in its middle")
    return account


def _unexplained(
    record: Record,
    got: Mapping[Pair, int],
    refused: Mapping[Pair, str],
    removed_tokens: Collection[str],
    letters: Collection[Letter],
) -> list[str]:
    name = record.send.name
    # Its uid was never told, so any letter may be its own.
    dead = frozenset[str]().union(*(letter.tokens for letter in letters))
    return [
        token
        for token in record.send.tokens
        if (name, token) not in got
        and (name, token) not in refused
        and token not in removed_tokens
        and token not in dead
    ]


def _dead_tokens(record: Record, letters: Collection[Letter]) -> frozenset[str]:
    found: set[str] = set()
    for letter in letters:
        if letter.uid in record.uids:
            found |= letter.tokens or set(record.send.tokens)
    return frozenset(found)
