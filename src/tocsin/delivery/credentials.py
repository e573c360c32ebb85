"""What is known of each credential: is it paused, can its word on a token be believed.

Pure state fed by results; it sends nothing and removes nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from tocsin.core.outcome import TOKEN_LETTERS, Outcome, Verdict
from tocsin.core.ports.devices import RecentVerdicts

WINDOW = 200
"""Answers that are remembered: of all workers, where they share a registry."""
ENOUGH = 50
"""Answers that must have been seen before a guarded verdict counts."""
SUSPICIOUS_SHARE = 0.1
"""Share of guarded verdicts above which the credential itself is in doubt."""
BROKEN_AFTER = 50
"""So many answers without a delivery, nearly all guarded: it is broken, no doubt."""
NEARLY_ALL = 0.9
"""Not all: a stray answer of another kind must not hide that a key is wrong."""
FLOOD_AFTER = 20
"""Answers from which on nearly all dead means that the provider is not believed."""
MOST_ORIGINS = 100
"""Push services of one credential whose answers are told apart."""

FIRST_PAUSE_S = 10.0
MAX_PAUSE_S = 300.0
"""Doubled from the first to this, where the provider names no time of its own."""
LONGEST_PAUSE_S = 1800.0
"""Also where a provider wishes for more: then it is asked again. One absurd answer
must not let all that waits grow too old."""

_DELIVERED = TOKEN_LETTERS[Verdict.DELIVERED]
_SUSPECT = TOKEN_LETTERS[Verdict.SUSPECT]
_DEAD = TOKEN_LETTERS[Verdict.UNREGISTERED]


class Trust(Enum):
    """What guarded verdicts of a credential are worth now."""

    BELIEVED = "believed"
    """They are about tokens."""
    DOUBTED = "doubted"
    """Too many, or too little is known: nothing follows from them."""
    BROKEN = "broken"
    """Nothing else comes: the credential is wrong, and its pushes wait."""


class _Removed(NamedTuple):
    """A device that a definite verdict removed, and after how many answers."""

    at: int
    device_id: str
    token: str


class CredentialState:
    """One provider credential: its pause here, its last answers everywhere."""

    def __init__(self, provider: str, integration: str) -> None:
        self.provider = provider
        self.integration = integration
        self.paused_until_ms = 0
        self.pause_reason = ""
        self.reported = False
        self.flood_reported = False
        self.letters = ""
        self.delivered = 0
        self.suspects: set[str] = set()
        self.suspects_at_ms = 0
        self.shared_at_ms = 0
        self.share_took_ms = 0
        self.ask_again_at_ms = 0
        self.sharing = asyncio.Lock()
        self.shares_begun = 0
        self._unshared: list[str] = []
        self._by_origin: dict[str, str] = {}
        self._seen = 0
        self._removed: deque[_Removed] = deque(maxlen=WINDOW)
        self._faults_in_a_row = 0

    def note(self, outcome: Outcome, now_ms: int, origin: str = "") -> None:
        """Take one answer in; `origin` names who gave it, where there are several."""
        verdict = outcome.verdict
        if verdict in {Verdict.RETRY, Verdict.MISCONFIGURED}:
            # Without `slow_down` it concerns this device or platform alone: an
            # APNs key missing in Firebase must not stop Android pushes.
            if outcome.slow_down:
                self._open(outcome, now_ms)
            return
        if verdict is not Verdict.SUSPECT:
            self._faults_in_a_row = 0
        letter = TOKEN_LETTERS.get(verdict)
        if letter is not None:
            self._seen += 1
            self._unshared.append(letter)
            if origin:
                self._note_of(origin, letter)

    def pause_if_broken(self, outcome: Outcome, now_ms: int) -> None:
        """Pause for a guarded verdict, where nothing else comes any more."""
        if self.trust() is Trust.BROKEN:
            self._open(outcome, now_ms)

    def is_paused(self, now_ms: int) -> bool:
        """Whether sends through this credential shall wait."""
        return now_ms < self.paused_until_ms

    def recent(self) -> str:
        """The last answers that are known here, the oldest first."""
        return (self.letters + "".join(self._unshared[-WINDOW:]))[-WINDOW:]

    def trust_in(self, origin: str) -> Trust:
        """The same for one of several services, by its own answers to this worker."""
        trust = self.trust()
        if trust is Trust.BELIEVED and origin:
            own = self._by_origin.get(origin, "")
            if len(own) < ENOUGH or own.count(_SUSPECT) > SUSPICIOUS_SHARE * len(own):
                return Trust.DOUBTED
        return trust

    def trust(self) -> Trust:
        """What a guarded verdict says: something of the token, or of us."""
        recent = self.recent()
        last = recent[-BROKEN_AFTER:]
        if (
            len(last) == BROKEN_AFTER
            and _DELIVERED not in last
            and last.count(_SUSPECT) >= NEARLY_ALL * BROKEN_AFTER
        ):
            return Trust.BROKEN
        if len(recent) < ENOUGH or self.is_suspicious():
            return Trust.DOUBTED
        return Trust.BELIEVED

    def is_suspicious(self) -> bool:
        """Whether so many guarded verdicts came that a person must look."""
        recent = self.recent()
        return len(recent) >= ENOUGH and recent.count(
            _SUSPECT
        ) > SUSPICIOUS_SHARE * len(recent)

    def is_flooded(self, origin: str = "") -> bool:
        """Whether nearly every token is called dead: no registry is that old.

        With `origin`, also whether that service does so, however well others answer.
        """
        histories = (self.recent(), self._by_origin.get(origin, ""))
        return any(
            len(letters) >= FLOOD_AFTER
            and letters.count(_DEAD) > NEARLY_ALL * len(letters)
            for letters in histories
        )

    def is_unsure(self) -> bool:
        """Whether a flood may be under way, or nothing was learnt of others yet."""
        recent = self.recent()
        return not self.shared_at_ms or recent.count(_DEAD) > len(recent) / 2

    def is_doubted_by_others(self) -> bool:
        """Whether guarded verdicts are among the last that all workers know."""
        return _SUSPECT in self.letters[-BROKEN_AFTER:]

    def take_unshared(self) -> tuple[str, int]:
        """The answers that no other worker knows of yet, and their deliveries."""
        letters, self._unshared = "".join(self._unshared), []
        return letters, letters.count(_DELIVERED)

    def put_back(self, letters: str) -> None:
        """These could not be shared: they are still to be."""
        # A registry that is away for long must not fill the memory.
        self._unshared = [*letters, *self._unshared][-5 * WINDOW :]

    def adopt(self, shared: RecentVerdicts) -> None:
        """Take over what all workers know; what came meanwhile stays."""
        self.letters = shared.letters
        self.delivered = shared.delivered
        self._settle_reports()

    def keep_own(self, letters: str) -> None:
        """Remember answers that there is nobody to share with."""
        self.letters = (self.letters + letters)[-WINDOW:]
        self._settle_reports()

    def note_removed(self, tokens: Mapping[str, str]) -> None:
        """Remember whom definite verdicts removed lately: device id → token."""
        self._removed.extend(
            _Removed(self._seen, id, token) for id, token in tokens.items()
        )

    def take_removed_in_flood(self, origin: str = "") -> list[str]:
        """Devices that went while the flood was not yet seen to be one."""
        late = self._seen - WINDOW
        found = [each for each in self._removed if each.token.startswith(origin)]
        kept = [each for each in self._removed if each not in found]
        self._removed = deque(kept, maxlen=WINDOW)
        return [each.device_id for each in found if each.at > late]

    def _note_of(self, origin: str, letter: str) -> None:
        if origin not in self._by_origin and len(self._by_origin) >= MOST_ORIGINS:
            del self._by_origin[next(iter(self._by_origin))]
        self._by_origin[origin] = (self._by_origin.get(origin, "") + letter)[-WINDOW:]

    def _settle_reports(self) -> None:
        self.reported = self.reported and self.is_suspicious()
        self.flood_reported = self.flood_reported and self.is_flooded()

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
