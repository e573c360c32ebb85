"""When a send that failed for now is tried again, and when no more."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds; the first and the least one may differ by provider."""

    first_delay_s: float = 1.0
    first_delay_by_provider: Mapping[str, float] = field(default_factory=dict)
    least_delay_by_provider: Mapping[str, float] = field(default_factory=dict)
    max_delay_s: float = 300.0
    max_age_s: float = 3600.0
    max_wait_s: float = 86_400.0
    """How long work waits for a credential that is paused."""

    def delay_s(self, provider: str, attempt: int, outcome: Outcome) -> float:
        """Seconds until the next try after `attempt` failed ones (from 0).

        The provider's own wish wins. Without one the delay is anything from the least
        one up to a bound that starts `first_delay` above it and doubles with each
        attempt: a failed broadcast comes back evenly spread, not as a wave, and never
        earlier than the provider's guidance says.
        """
        if outcome.retry_after_s is not None:
            return max(0.0, outcome.retry_after_s)
        first = self.first_delay_by_provider.get(provider, self.first_delay_s)
        least = self.least_delay_by_provider.get(provider, 0.0)
        # Far beyond any cap, and still a number: a high power would overflow.
        bound = min(self.max_delay_s, least + first * 2.0 ** min(attempt, 30))
        # Drawn below the cap, not cut off at it: else many would meet there.
        return random.uniform(min(least, bound), bound)  # noqa: S311 - hides nothing

    def gives_up_at_ms(self, first_try_at_ms: int) -> int:
        """Unix milliseconds after which these recipients are not tried again."""
        return first_try_at_ms + int(self.max_age_s * 1000)
