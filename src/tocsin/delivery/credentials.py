"""The state of each credential: is it paused, and are its verdicts believed.

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
"""Answers that are remembered; those of all workers, if they share a registry."""
ENOUGH = 50
"""Answers that must have been seen before a guarded verdict counts."""
SUSPICIOUS_SHARE = 0.1
"""Share of guarded verdicts above which the credential itself is in doubt."""
BROKEN_AFTER = 50
"""A credential is broken if its last answers, this many, hold no delivery and are
nearly all guarded."""
NEARLY_ALL = 0.9
"""Not 1.0: a stray answer of another kind must not hide that a key is wrong."""
FLOOD_AFTER = 20
"""Answers that must have been seen before "nearly all dead" is called a flood, whose
definite verdicts are not believed."""
MOST_ORIGINS = 100
"""Push services of one credential that have a history of their own. For Web Push they
are read from the endpoints of devices, so their number needs a bound."""

FIRST_PAUSE_S = 10.0
MAX_PAUSE_S = 300.0
"""Pauses double from the first to this, unless the provider asks for a time."""
LONGEST_PAUSE_S = 1800.0
"""The longest pause, even if a provider asks for more. After one absurd answer all
that waits would grow too old; this way the provider is asked again."""

_DELIVERED = TOKEN_LETTERS[Verdict.DELIVERED]
_SUSPECT = TOKEN_LETTERS[Verdict.SUSPECT]
_DEAD = TOKEN_LETTERS[Verdict.UNREGISTERED]


class Trust(Enum):
    """What guarded verdicts of a credential are worth now."""

    BELIEVED = "believed"
    """They tell of dead tokens."""
    DOUBTED = "doubted"
    """There are too many, or too few answers are known: they remove nothing."""
    BROKEN = "broken"
    """There is nothing else: the credential is wrong, and its pushes wait."""


class _Removed(NamedTuple):
    """A device that a definite verdict removed; `at` counts the answers up to then."""

    at: int
    device_id: str
    token: str


class CredentialState:
    """One provider credential: its pause in this worker, its answers to all of them."""

    def __init__(self, provider: str, integration: str) -> None:
        self.provider = provider
        self.integration = integration
        self.paused_until_ms = 0
        self.pause_reason = ""
        self.reported = False
        self.flood_reported = False
        # What the registry last said: the answers to all workers, one letter each, and
        # their deliveries ever. `suspects` are ids of devices that it has marked.
        self.letters = ""
        self.delivered = 0
        self.suspects: set[str] = set()
        self.suspects_at_ms = 0
        # The exchange with the registry, see `DeviceRemoval.share`.
        self.shared_at_ms = 0
        self.share_took_ms = 0
        self.ask_again_at_ms = 0
        self.sharing = asyncio.Lock()
        self.shares_begun = 0
        self._unshared: list[str] = []
        # Of this worker alone: answers by push service, and how many there were ever.
        self._by_origin: dict[str, str] = {}
        self._seen = 0
        self._removed: deque[_Removed] = deque(maxlen=WINDOW)
        self._faults_in_a_row = 0

    def note(self, outcome: Outcome, now_ms: int, origin: str = "") -> None:
        """Take one answer in; `origin` is the push service, if there are several."""
        verdict = outcome.verdict
        if verdict in {Verdict.RETRY, Verdict.MISCONFIGURED}:
            # Without `slow_down` the fault is of this device or platform alone. An
            # APNs key that is missing in Firebase must not stop Android pushes.
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
        """Pause for a guarded verdict if the credential gets hardly anything else."""
        if self.trust() is Trust.BROKEN:
            self._open(outcome, now_ms)

    def is_paused(self, now_ms: int) -> bool:
        """Whether sends through this credential shall wait."""
        return now_ms < self.paused_until_ms

    def recent(self) -> str:
        """The last answers, the oldest first: of all workers, then our own new ones."""
        return (self.letters + "".join(self._unshared[-WINDOW:]))[-WINDOW:]

    def trust_in(self, origin: str) -> Trust:
        """`trust` in one push service of several, by its answers to this worker too."""
        trust = self.trust()
        if trust is Trust.BELIEVED and origin:
            own = self._by_origin.get(origin, "")
            if len(own) < ENOUGH or own.count(_SUSPECT) > SUSPICIOUS_SHARE * len(own):
                return Trust.DOUBTED
        return trust

    def trust(self) -> Trust:
        """Whether a guarded verdict tells of the token, or of our own credential."""
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
        """Whether so many verdicts are guarded that a person must look."""
        recent = self.recent()
        return len(recent) >= ENOUGH and recent.count(
            _SUSPECT
        ) > SUSPICIOUS_SHARE * len(recent)

    def is_flooded(self, origin: str = "") -> bool:
        """Whether nearly every token is called dead, which no registry explains.

        With `origin`, also whether that one service does so while others are healthy.
        """
        histories = (self.recent(), self._by_origin.get(origin, ""))
        return any(
            len(letters) >= FLOOD_AFTER
            and letters.count(_DEAD) > NEARLY_ALL * len(letters)
            for letters in histories
        )

    def is_unsure(self) -> bool:
        """Whether a flood may have begun, or other workers were never asked yet."""
        recent = self.recent()
        return not self.shared_at_ms or recent.count(_DEAD) > len(recent) / 2

    def is_doubted_by_others(self) -> bool:
        """Whether guarded verdicts are among the last that all workers know."""
        return _SUSPECT in self.letters[-BROKEN_AFTER:]

    def take_unshared(self) -> tuple[str, int]:
        """Take the answers that were not shared yet, with the number of deliveries."""
        letters, self._unshared = "".join(self._unshared), []
        return letters, letters.count(_DELIVERED)

    def put_back(self, letters: str) -> None:
        """Keep answers that could not be shared for the next time."""
        # A registry that is away for long must not fill the memory.
        self._unshared = [*letters, *self._unshared][-5 * WINDOW :]

    def adopt(self, shared: RecentVerdicts) -> None:
        """Take over what all workers know; newer answers of our own stay unshared."""
        self.letters = shared.letters
        self.delivered = shared.delivered
        self._settle_reports()

    def keep_own(self, letters: str) -> None:
        """Remember these answers here, if there is no registry to share them by."""
        self.letters = (self.letters + letters)[-WINDOW:]
        self._settle_reports()

    def note_removed(self, tokens: Mapping[str, str]) -> None:
        """Remember devices that definite verdicts removed: device id → token."""
        self._removed.extend(
            _Removed(self._seen, id, token) for id, token in tokens.items()
        )

    def take_removed_in_flood(self, origin: str = "") -> list[str]:
        """Take the ids of devices that went before the flood was recognized.

        They were removed within the last `WINDOW` answers; older removals stand.
        """
        late = self._seen - WINDOW
        # An origin is the beginning of its tokens, which are URLs.
        found = [each for each in self._removed if each.token.startswith(origin)]
        kept = [each for each in self._removed if each not in found]
        self._removed = deque(kept, maxlen=WINDOW)
        return [each.device_id for each in found if each.at > late]

    def _note_of(self, origin: str, letter: str) -> None:
        # The one that came first goes: dictionaries keep the order of insertion.
        if origin not in self._by_origin and len(self._by_origin) >= MOST_ORIGINS:
            del self._by_origin[next(iter(self._by_origin))]
        self._by_origin[origin] = (self._by_origin.get(origin, "") + letter)[-WINDOW:]

    def _settle_reports(self) -> None:
        # A credential that was healthy in between is reported again the next time.
        self.reported = self.reported and self.is_suspicious()
        self.flood_reported = self.flood_reported and self.is_flooded()

    def _open(self, outcome: Outcome, now_ms: int) -> None:
        delay_s = outcome.retry_after_s
        if delay_s is None:
            # Requests that were already under way are answered after the pause began.
            # All of them are one fault, and must not double the pause each.
            if self.is_paused(now_ms):
                return
            doubled = FIRST_PAUSE_S * 2.0 ** min(self._faults_in_a_row, 10)
            delay_s = min(MAX_PAUSE_S, doubled)
            self._faults_in_a_row += 1
        until_ms = now_ms + int(min(LONGEST_PAUSE_S, delay_s) * 1000)
        if until_ms > self.paused_until_ms:
            self.paused_until_ms = until_ms
            self.pause_reason = outcome.code
