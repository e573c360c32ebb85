"""Batches for providers, a pace to drive them, and what they report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch
from tocsin.core.push import Body, TargetKind

MESSAGE = b'{"notification": {"title": "Tocsin", "body": "It rings"}}'


def batch_of(
    targets: Sequence[str],
    *,
    message: bytes = MESSAGE,
    kind: TargetKind = TargetKind.TOKEN,
    pending: Sequence[int] | None = None,
    validate_only: bool = False,
) -> Batch:
    """A batch to all of these targets, or to the pending ones."""
    if pending is None:
        pending = range(len(targets))
    return Batch(Body(message), kind, targets, pending, validate_only=validate_only)


@dataclass
class FreePace:
    """Lets everything through, or stops after so many."""

    stop_after: int | None = None
    asked: int = 0

    def ready(self) -> bool:
        """The pace of the port."""
        self.asked += 1
        return self.stop_after is None or self.asked <= self.stop_after

    async def wait(self) -> bool:
        """Stops for good once it has begun to."""
        return self.stop_after is None


@dataclass
class Reports:
    """What a provider reported, by index; a second report of one index fails."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def __call__(self, index: int, outcome: Outcome) -> None:
        assert index not in self.outcomes, f"index {index} reported twice"
        self.outcomes[index] = outcome

    def verdicts(self) -> Counter[Verdict]:
        """How many of each."""
        return Counter(outcome.verdict for outcome in self.outcomes.values())

    def codes(self) -> Counter[str]:
        """How many of each code."""
        return Counter(outcome.code for outcome in self.outcomes.values())
