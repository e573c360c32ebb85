"""What the fault plan does to a request with several targets.

It must not know how any service words its own errors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tocsin.simulator.exchange import Ending, Reply
from tocsin.simulator.faults import Fault, FaultPlan
from tocsin.simulator.ledger import Ledger

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

    `fault` concerns all of it; else `bad` are the targets with a fault of their own.
    """

    fault: Fault | None = None
    delay_ms: int = 0
    bad: dict[str, Fault] = field(default_factory=dict)

    def late(self, reply: Reply) -> Reply:
        """The reply after the delay that was asked for."""
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
        elif fault in single:
            fate.bad[target] = fault
        else:
            return Fate(fault, faults.latency_ms)
    fate.delay_ms += slowest_ms
    return fate


def reply_without_words(
    fault: Fault, ledger: Ledger, targets: Sequence[str]
) -> Reply | None:
    """The reply to faults below the service: pages of gateways, lost connections."""
    if fault in _PAGES:
        status = _PAGES[fault]
        return Reply(status, _PAGE % status, "text/html; charset=UTF-8")
    if fault in _ENDINGS:
        if fault is Fault.DROP:
            for target in targets:
                ledger.deliver(target)
        return Reply(0, ending=_ENDINGS[fault])
    return None
