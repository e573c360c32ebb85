"""What the simulator has seen and done, for tests to ask afterwards.

It counts and never judges: whether each device got it once is for its reader to say.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any


class Ledger:
    """Counters per answer, and how often each target was accepted."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.answers: Counter[str] = Counter()
        self.delivered: dict[str, int] = {}
        self.connections = 0
        self.fast_answers = 0

    def count(self, answer: str) -> None:
        """One request was answered so."""
        self.answers[answer] += 1

    def deliver(self, target: str) -> None:
        """The message for this target was accepted, answered or not."""
        self.delivered[target] = self.delivered.get(target, 0) + 1

    def stats(self) -> dict[str, Any]:
        """The counters; `duplicates` are targets accepted more than once.

        `accepted` counts messages, `distinct` targets, `extra` the messages
        beyond one per target.
        """
        accepted = sum(self.delivered.values())
        return {
            "requests": self.answers.total() + self.fast_answers,
            "answers": dict(sorted(self.answers.items())),
            "fast_answers": self.fast_answers,
            "accepted": accepted,
            "distinct": len(self.delivered),
            "duplicates": sum(count > 1 for count in self.delivered.values()),
            "extra": accepted - len(self.delivered),
            "connections": self.connections,
        }

    def page(self, offset: int, limit: int, at_least: int) -> dict[str, Any]:
        """Targets with their counts in order of first acceptance.

        Only those accepted `at_least` times. `next` is the offset of the next
        page, or `None` on the last one.
        """
        # An offset stays valid while targets are added: a dict keeps its order.
        chosen = islice(self.delivered.items(), offset, None)
        found: list[tuple[str, int]] = []
        position = offset
        for target, count in chosen:
            if len(found) == limit:
                return {"delivered": found, "next": position}
            position += 1
            if count >= at_least:
                found.append((target, count))
        return {"delivered": found, "next": None}
