"""The state of each credential: does it wait, and are its verdicts believed.

Pure state fed by results; it sends, removes and shares nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from tocsin.core.breaker import Breaker, Cause, cause_of, open_breaker, pause_ms
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
BROKEN_AT_LEAST = 10
"""So few are enough where it delivered little before: half as many as its deliveries
that are remembered, within these two numbers. A handful of old devices at the end of a
healthy send is no broken credential; the first ten answers of a new key are."""
NEARLY_ALL = 0.9
"""Not 1.0: a stray answer of another kind must not hide that a key is wrong."""
FLOOD_AFTER = 20
"""Answers that must have been seen before "nearly all dead" is called a flood, whose
definite verdicts are not believed."""
MOST_ORIGINS = 100
"""Push services of one credential that have a history of their own. For Web Push they
are read from the endpoints of devices, so their number needs a bound."""

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
    """One provider credential: its breaker, and its answers to all workers."""

    def __init__(self, provider: str, integration: str) -> None:
        self.provider = provider
        self.integration = integration
        # As this worker sees it. `is_unshared` until the others know of a change that
        # was made here; `Breakers` shares it.
        self.breaker: Breaker | None = None
        self.is_unshared = False
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

    def note(
        self, outcome: Outcome, now_ms: int, origin: str = "", *, push_id: str = ""
    ) -> None:
        """Take one answer in; `origin` is the push service, if there are several."""
        if (cause := cause_of(outcome)) is not None:
            self._open(cause, outcome, now_ms, push_id)
            return
        verdict = outcome.verdict
        if self.breaker is not None and verdict is Verdict.DELIVERED:
            self._recover(now_ms)
        letter = TOKEN_LETTERS.get(verdict)
        if letter is not None:
            self._seen += 1
            self._unshared.append(letter)
            if origin:
                self._note_of(origin, letter)

    def pause_if_broken(
        self, outcome: Outcome, now_ms: int, *, push_id: str = ""
    ) -> None:
        """Pause for a guarded verdict if the credential gets hardly anything else."""
        if self.trust() is Trust.BROKEN:
            self._open(Cause.STORM, outcome, now_ms, push_id)

    def is_paused(self, now_ms: int) -> bool:
        """Whether sends through this credential shall wait."""
        return self.breaker is not None and self.breaker.stops(now_ms)

    def change(self, breaker: Breaker | None) -> None:
        """Have this breaker here from now on; the other workers do not know it yet."""
        self.breaker = breaker
        self.is_unshared = True

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
        proof = min(BROKEN_AFTER, max(BROKEN_AT_LEAST, recent.count(_DELIVERED) // 2))
        last = recent[-proof:]
        if (
            len(last) == proof
            and _DELIVERED not in last
            and last.count(_SUSPECT) >= NEARLY_ALL * proof
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

    def _recover(self, now_ms: int) -> None:
        # Only what ends by itself: answers to what was sent before a fault was seen
        # say nothing, and probes decide.
        if self.breaker is not None and not self.breaker.stops(now_ms):
            self.change(None)

    def _open(self, cause: Cause, outcome: Outcome, now_ms: int, push_id: str) -> None:
        before = self.breaker
        if before is None or (before.cause is Cause.THROTTLE is not cause):
            self.change(open_breaker(cause, outcome, now_ms, push_id=push_id))
        elif before.needs_probe or cause is not Cause.THROTTLE:
            # Requests that were already under way are answered after it opened. All of
            # them are one fault, and must not double the pause each.
            return
        elif now_ms >= before.until_ms:
            self.change(before.failed_again(outcome, now_ms))
        elif outcome.retry_after_s is not None:
            until_ms = now_ms + pause_ms(outcome, 0)
            if until_ms > before.until_ms:
                self.change(replace(before, until_ms=until_ms))
