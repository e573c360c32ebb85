"""What a worker knows of each credential: is it paused, can it be believed.

Pure state fed by results; it sends nothing and removes nothing itself.
"""

from __future__ import annotations

from collections import deque

from tocsin.core.outcome import Outcome, Verdict

WINDOW = 200
"""Answers that are remembered."""
ENOUGH = 50
"""Answers that must have been seen before a guarded verdict counts."""
SUSPICIOUS_SHARE = 0.3
"""Share of guarded verdicts above which the credential itself is suspect."""

FIRST_PAUSE_S = 10.0
MAX_PAUSE_S = 300.0
LONGEST_PAUSE_S = 1800.0
"""Also where a provider wishes for more: then it is asked again. One absurd answer
must not let all that waits grow too old."""


class CredentialState:
    """One provider credential as seen by this worker."""

    def __init__(self, provider: str, integration: str) -> None:
        self.provider = provider
        self.integration = integration
        self.paused_until_ms = 0
        self.pause_reason = ""
        self.reported = False
        self._answers: deque[bool] = deque(maxlen=WINDOW)
        self._suspects = 0
        self._faults_in_a_row = 0

    def note(self, outcome: Outcome, now_ms: int) -> None:
        """Take one answer in."""
        verdict = outcome.verdict
        if verdict in {Verdict.RETRY, Verdict.MISCONFIGURED}:
            # Without `slow_down` it concerns this device or platform alone: an
            # APNs key missing in Firebase must not stop Android pushes.
            if outcome.slow_down:
                self._open(outcome, now_ms)
            return
        self._faults_in_a_row = 0
        self._remember(verdict is Verdict.SUSPECT)

    def is_paused(self, now_ms: int) -> bool:
        """Whether sends through this credential shall wait."""
        return now_ms < self.paused_until_ms

    def may_remove_suspects(self) -> bool:
        """Whether a guarded verdict is about the token and not about us."""
        return len(self._answers) >= ENOUGH and not self.is_suspicious()

    def is_suspicious(self) -> bool:
        """Whether so many guarded verdicts came that a person must look."""
        seen = len(self._answers)
        return seen >= ENOUGH and self._suspects > SUSPICIOUS_SHARE * seen

    def _remember(self, suspect: bool) -> None:
        if len(self._answers) == WINDOW and self._answers[0]:
            self._suspects -= 1
        self._answers.append(suspect)
        self._suspects += suspect
        if self.reported and not self.is_suspicious():
            self.reported = False

    def _open(self, outcome: Outcome, now_ms: int) -> None:
        delay_s = outcome.retry_after_s
        if delay_s is None:
            # Answers to requests that were already under way arrive together:
            # they are one fault, and must not double the pause each.
            if self.is_paused(now_ms):
                return
            doubled = FIRST_PAUSE_S * 2.0 ** min(self._faults_in_a_row, 10)
            delay_s = min(MAX_PAUSE_S, doubled)
            self._faults_in_a_row += 1
        until_ms = now_ms + int(min(LONGEST_PAUSE_S, delay_s) * 1000)
        if until_ms > self.paused_until_ms:
            self.paused_until_ms = until_ms
            self.pause_reason = outcome.code
