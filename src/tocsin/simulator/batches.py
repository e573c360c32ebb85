"""What the fault plan does to a request with several targets.

It must not know how any service words its own errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from tocsin.simulator.exchange import Ending, Reply, json_reply
from tocsin.simulator.faults import SPOILT, Fault, FaultPlan
from tocsin.simulator.imitation import Imitation
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.spoiling import spoil

SINGLE = frozenset({Fault.DEAD, Fault.BAD_TOKEN, Fault.BAD_FIELD})
"""Faults of one target, which leave the others of its request alone."""

_PAGE = b"<!DOCTYPE html>\n<html lang=en><title>Error %d</title>\n"
_PAGES = {Fault.HTML: 502, Fault.GATEWAY: 504}
_ENDINGS = {
    Fault.SILENT: Ending.SILENCE,
    Fault.RESET: Ending.RESET,
    Fault.DROP: Ending.DROP,
}


@dataclass
class Fate:
    """What becomes of one request.

    `fault` concerns the whole request; without one, `bad` are the targets with a fault
    of their own.
    """

    fault: Fault | None = None
    delay_ms: int = 0
    bad: dict[str, Fault] = field(default_factory=dict)
    spoilt: Fault | None = None
    """What becomes of the answer to a request that is accepted."""

    def late(self, reply: Reply) -> Reply:
        """The reply as it is sent: after the delay that was asked for, or spoilt."""
        reply = spoil(reply, self.spoilt)
        if not self.delay_ms:
            return reply
        return replace(reply, delay_s=self.delay_ms / 1000)


def choose_fate(
    faults: FaultPlan,
    targets: Sequence[str],
    *,
    single: Collection[Fault],
    names: Mapping[str, str] | None = None,
) -> Fate:
    """Ask the plan for each target; the first fault that is not in `single` decides.

    `names` says which text of a target the plan reads where it is not all of it.
    """
    fate = Fate(delay_ms=faults.latency_ms)
    slowest_ms = 0
    for target in targets:
        chosen = faults.choose(names[target] if names else target)
        if chosen is None:
            continue
        fault, slow_ms = chosen
        if fault is Fault.SLOW:
            slowest_ms = max(slowest_ms, slow_ms)
        elif fault in SPOILT:
            fate.spoilt = fault
        elif fault in single:
            fate.bad[target] = fault
        else:
            # One fault of the request decides about all of its targets.
            return Fate(fault, faults.latency_ms)
    fate.delay_ms += slowest_ms
    return fate


def reply_without_words(
    fault: Fault, ledger: Ledger, targets: Sequence[str]
) -> Reply | None:
    """The reply to faults in front of the service: gateways' pages, lost connections.

    `None` for any other fault.
    """
    if fault in _PAGES:
        status = _PAGES[fault]
        return Reply(status, _PAGE % status, "text/html; charset=UTF-8")
    if fault in _ENDINGS:
        # The message is accepted before the connection drops: a repeat is a
        # duplicate.
        if fault is Fault.DROP:
            for target in targets:
                ledger.deliver(target)
        return Reply(0, ending=_ENDINGS[fault])
    return None


STATUSES: Mapping[Fault, int] = {
    Fault.BAD_PAYLOAD: 422,
    Fault.TOO_BIG: 413,
    Fault.MISMATCH: 403,
    Fault.THIRD_PARTY: 402,
    Fault.DENIED: 403,
    Fault.LOST: 404,
    Fault.EXPIRED: 401,
    Fault.QUOTA: 429,
    Fault.QUOTA_SECONDS: 429,
    Fault.QUOTA_DATE: 429,
    Fault.PROJECT_QUOTA: 429,
    Fault.UNAVAILABLE: 503,
    Fault.FLAKY: 503,
    Fault.INTERNAL: 500,
}
"""How faults of a request look at services that say them by HTTP status alone."""
_DATE_AHEAD_S = 30


def retry_after(fault: Fault, now_s: float) -> tuple[tuple[str, str], ...]:
    """The header that goes with a fault: seconds, a date, or nothing."""
    match fault:
        case Fault.QUOTA_SECONDS:
            return (("retry-after", "7"),)
        case Fault.UNAVAILABLE:
            return (("retry-after", "2"),)
        case Fault.QUOTA_DATE:
            date = formatdate(now_s + _DATE_AHEAD_S, usegmt=True)
            return (("retry-after", date),)
    return ()


class PlainService(Imitation):
    """Base of services that fail by HTTP status; each has its own texts and success."""

    def __init__(
        self,
        ledger: Ledger,
        faults: FaultPlan,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._faults = faults
        self._clock = clock

    def words(self, status: int, text: str, /) -> Any:
        """The JSON of a refusal, as this service writes it."""
        raise NotImplementedError

    def refuse(self, status: int, text: str, answer: str = "invalid_message") -> Reply:
        """A refusal that no fault asked for."""
        self._ledger.count(answer)
        return json_reply(status, self.words(status, text))

    def settle(
        self,
        targets: Sequence[str],
        accept: Callable[[list[str], list[str]], Reply],
        *,
        single: Collection[Fault] = SINGLE,
    ) -> Reply:
        """Ask the plan; `accept` gets the targets that work and those that do not."""
        fate = choose_fate(self._faults, targets, single=single)
        if fate.fault is not None:
            self._ledger.count(fate.fault.value)
            return fate.late(self._fail(fate.fault, targets))
        self._ledger.count("delivered")
        good = [target for target in targets if target not in fate.bad]
        for target in good:
            self._ledger.deliver(target)
        return fate.late(accept(good, list(fate.bad)))

    def _fail(self, fault: Fault, targets: Sequence[str]) -> Reply:
        reply = reply_without_words(fault, self._ledger, targets)
        if reply is not None:
            return reply
        status = STATUSES[fault]
        text = f"{fault.value}: {targets[0]}"
        headers = retry_after(fault, self._clock())
        return json_reply(status, self.words(status, text), headers=headers)
