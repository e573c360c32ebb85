"""When to try again, as values. Decides nothing else and reads no clock."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.core.outcome import Outcome

JITTER = (1.0, 1.5)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds; `first_delay_s` may differ by provider."""

    first_delay_s: float = 1.0
    first_delay_by_provider: Mapping[str, float] = field(default_factory=dict)
    max_delay_s: float = 300.0
    max_age_s: float = 3600.0

    def delay_s(self, provider: str, attempt: int, outcome: Outcome) -> float:
        """Seconds until the next try after `attempt` failed ones (from 0).

        The provider's own wish wins; else doubled from the first delay, spread
        by jitter so that a failed broadcast does not come back as one wave.
        """
        if outcome.retry_after_s is not None:
            return max(0.0, outcome.retry_after_s)
        first = self.first_delay_by_provider.get(provider, self.first_delay_s)
        delay = first * 2.0 ** min(attempt, 30)
        delay *= random.uniform(*JITTER)  # noqa: S311 - spreads load, hides nothing
        # The cap is the last word: a configured longest wait is never exceeded.
        return min(self.max_delay_s, delay)

    def gives_up_at_ms(self, first_try_at_ms: int) -> int:
        """Unix milliseconds after which these recipients are not tried again."""
        return first_try_at_ms + int(self.max_age_s * 1000)
