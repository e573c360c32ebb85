"""Breakers: what stops a credential's sends, or one send whose body is refused.

Pure values and their next values; a credential or a send without one is not stopped.
Who asks, waits and probes is decided in `delivery`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from tocsin.core.outcome import Outcome, Verdict

FIRST_PAUSE_S = 10.0
MAX_PAUSE_S = 300.0
"""Pauses double from the first to this, unless the provider asks for a time."""
STORM_PAUSE_S = 60.0
"""The same in a storm, where the next recipient may be answered otherwise."""
LONGEST_PAUSE_S = 1800.0
"""The longest pause, even if a provider asks for more. After one absurd answer all
that waits would grow too old; this way the provider is asked again."""
PROBE_LEASE_S = 30.0
"""How long a probe may take until another worker may try one."""
PROBE_AGAIN_S = 2.0
"""The wait after a probe whose answer says nothing of the credential."""

BODY_REFUSED, BREAKER_OPEN = "body_refused", "breaker_open"
"""How the reasons of dead letters begin, of what was stopped; and labels in metrics."""

HALT_KEPT_MS = 60_000
"""How long a halt stands after somebody met it last. Work of that send that comes later
asks anew, a few times: the fault may have been the provider's."""

_CREDENTIAL = "credential"
_BODY = "body"
_DETAIL_LIMIT = 300


class Cause(StrEnum):
    """Why a credential's sends wait."""

    FAULT = "fault"
    """The provider refuses the credential, or its set-up; a person has to act."""
    STORM = "storm"
    """Hardly anything but guarded verdicts: wrong project, key or environment."""
    THROTTLE = "throttle"
    """The provider asks all of the credential to wait; it ends by itself."""


class BreakerState(StrEnum):
    """What `tocsin credentials` shows, and the order of the metric's values."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    """One recipient is being sent to, or may be, to find out."""
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The open breaker of a credential. Times are Unix milliseconds.

    `code` and `detail` are the provider's answer that opened it, to a push of
    `push_id`; they become those of the newest failed probe. Nothing is sent before
    `until_ms`; then one worker, `prober`, sends to one recipient, and moves it on.
    """

    cause: Cause
    code: str
    detail: str = ""
    push_id: str = ""
    opened_at_ms: int
    until_ms: int
    failed_probes: int = 0
    prober: str = ""

    @property
    def needs_probe(self) -> bool:
        """Whether only a probe ends it; else its time does."""
        return self.cause is not Cause.THROTTLE

    def stops(self, now_ms: int) -> bool:
        """Whether ordinary sends have to wait."""
        return self.needs_probe or now_ms < self.until_ms

    def state(self, now_ms: int) -> BreakerState:
        """The word for it."""
        if not self.stops(now_ms):
            return BreakerState.CLOSED
        if not self.needs_probe:
            return BreakerState.THROTTLED
        if self.prober or now_ms >= self.until_ms:
            return BreakerState.HALF_OPEN
        return BreakerState.OPEN

    def reason(self) -> str:
        """Why it is open, in one line."""
        return f"{self.code}: {self.detail}" if self.detail else self.code

    def claimed(self, prober: str, now_ms: int) -> Breaker:
        """While this worker probes."""
        until_ms = now_ms + int(PROBE_LEASE_S * 1000)
        return replace(self, prober=prober, until_ms=until_ms)

    def after_probe(self, outcome: Outcome | None, now_ms: int) -> Breaker | None:
        """What a probe's answer makes of it: `None` where it closes."""
        if outcome is not None:
            if outcome.verdict is Verdict.DELIVERED or (
                # A token is judged only after the credential was accepted. In a storm
                # the verdicts about tokens are what is in doubt.
                outcome.verdict is Verdict.UNREGISTERED and self.cause is Cause.FAULT
            ):
                return None
            if _is_failed_probe(outcome):
                return self.failed_again(outcome, now_ms)
        again_ms = now_ms + int(PROBE_AGAIN_S * 1000)
        return replace(self, prober="", until_ms=again_ms)

    def failed_again(self, outcome: Outcome, now_ms: int) -> Breaker:
        """After one more fault, with twice the pause."""
        failed = self.failed_probes + 1
        return replace(
            self,
            code=outcome.code,
            detail=outcome.detail[:_DETAIL_LIMIT],
            prober="",
            failed_probes=failed,
            until_ms=now_ms + pause_ms(outcome, failed, self.cause),
        )

    def to_text(self) -> str:
        """As workers share it."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)


def open_breaker(
    cause: Cause, outcome: Outcome, now_ms: int, *, push_id: str = ""
) -> Breaker:
    """The breaker that this answer opens."""
    return Breaker(
        cause=cause,
        code=outcome.code,
        detail=outcome.detail[:_DETAIL_LIMIT],
        push_id=push_id,
        opened_at_ms=now_ms,
        until_ms=now_ms + pause_ms(outcome, 0),
    )


def cause_of(outcome: Outcome) -> Cause | None:
    """What an answer about the whole credential opens; `None` for any other."""
    # Without `slow_down` the fault is of this device or platform alone. An APNs key
    # that is missing in Firebase must not stop Android pushes.
    if not outcome.slow_down:
        return None
    if outcome.verdict is Verdict.MISCONFIGURED:
        return Cause.FAULT
    return Cause.THROTTLE if outcome.verdict is Verdict.RETRY else None


def pause_ms(outcome: Outcome, failed_before: int, cause: Cause = Cause.FAULT) -> int:
    """How long nothing is sent; the provider's own wish wins, within bounds."""
    delay_s = outcome.retry_after_s
    if delay_s is None:
        most_s = STORM_PAUSE_S if cause is Cause.STORM else MAX_PAUSE_S
        delay_s = min(most_s, FIRST_PAUSE_S * 2.0 ** min(failed_before, 10))
    return int(min(LONGEST_PAUSE_S, delay_s) * 1000)


def read_breaker(text: str) -> Breaker | None:
    """A breaker as another worker shared it; `None` where it cannot be read."""
    found = _read(text)
    try:
        known = {name: found[name] for name in Breaker.__slots__ if name in found}
        return Breaker(**{**known, "cause": Cause(known["cause"])})
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class BodyHalt:
    """A send that one provider's answers have stopped, since they refuse its body."""

    code: str
    detail: str
    at_ms: int

    def reason(self) -> str:
        """Why its recipients are in the dead letters; the same for all of them."""
        return f"{BODY_REFUSED}: {self.code}: {self.detail}".rstrip(": ")

    def to_text(self) -> str:
        """As workers share it."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)


def read_halt(text: str) -> BodyHalt | None:
    """A halt as another worker shared it; `None` where it cannot be read."""
    found = _read(text)
    try:
        return BodyHalt(str(found["code"]), str(found["detail"]), int(found["at_ms"]))
    except (KeyError, TypeError, ValueError):
        return None


def credential_name(provider: str, integration: str, digest: str) -> str:
    """The name under which workers share the breaker of a credential.

    `digest` tells keys apart: a changed credential has no breaker yet.
    """
    return f"{_CREDENTIAL}|{provider}|{integration}|{digest}"


def parse_credential_name(name: str) -> tuple[str, str, str] | None:
    """Provider, integration and digest; `None` for the name of something else."""
    kind, *parts = name.split("|")
    if kind != _CREDENTIAL or len(parts) != 3:
        return None
    return parts[0], parts[1], parts[2]


def body_name(body_key: str, provider: str, integration: str) -> str:
    """The name of a halt; batches with a mended body have a key of their own."""
    return f"{_BODY}|{body_key}|{provider}|{integration}"


def body_prefix(push_id: str) -> tuple[str, str]:
    """How the names of all halts of a send begin, those of mended bodies too."""
    return f"{_BODY}|{push_id}|", f"{_BODY}|{push_id}~"


def is_body_name(name: str) -> bool:
    """Whether it is the name of a halt."""
    return name.startswith(f"{_BODY}|")


def _is_failed_probe(outcome: Outcome) -> bool:
    return outcome.verdict is Verdict.SUSPECT or cause_of(outcome) is not None


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
