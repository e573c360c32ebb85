"""How a send is, as operators see it. Part of `admin`: pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.core.accounts import Account
from tocsin.core.breaker import Breaker, BreakerState
from tocsin.core.push import Job
from tocsin.core.send_log import Progress, SendRecord

HALTED = "halted"
STATES = (*(each.value for each in Progress), HALTED)
"""What `SendView.state` may be."""

Route = tuple[str, str]
"""A provider, and an integration or the provider's own name."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps open work from being sent; times are Unix milliseconds, 0 for none.

    `kind` is `breaker`, of a credential, or `body`, which has to be mended.
    """

    kind: str
    provider: str
    integration: str
    reason: str
    since_ms: int
    until_ms: int = 0
    is_throttle: bool = False


@dataclass(frozen=True, slots=True)
class WalkAt:
    """A walk that goes on: after which device it is, and up to which one it goes."""

    provider: str
    integration: str
    page: int
    after: str
    until: str


@dataclass(frozen=True, slots=True)
class SendView:
    """A send with its state in one word of `STATES`, and why."""

    record: SendRecord
    state: str
    why: str = ""
    account: Account = field(default_factory=Account)
    holds: Sequence[Hold] = ()
    walks: Sequence[WalkAt] = ()

    @property
    def fault(self) -> str:
        """Why its account does not close, or empty."""
        return self.account.find_fault()


def route_of(job: Job) -> Route:
    """The credential that a job goes through."""
    return job.provider, job.integration or job.provider


def open_routes(account: Account, jobs: Sequence[Job]) -> set[Route]:
    """The credentials that open work goes through; `jobs` are the first ones."""
    names = {*account.units, *account.walks}
    return {route_of(job) for job in (_first(name, jobs) for name in names) if job}


def walks_of(account: Account, jobs: Sequence[Job]) -> list[WalkAt]:
    """The walks that go on, in the order of their names."""
    found = []
    for name, walk in sorted(account.walks.items()):
        job = _first(name, jobs)
        provider, integration = ("", "") if job is None else route_of(job)
        at = WalkAt(provider, integration, walk.page, walk.cursor, walk.until)
        found.append(at)
    return found


def breaker_holds(
    routes: Iterable[Route], breakers: Mapping[Route, Breaker], now_ms: int
) -> list[Hold]:
    """Which of these credentials wait, and why."""
    holds = []
    for route in sorted(set(routes)):
        breaker = breakers.get(route)
        if breaker is not None and breaker.stops(now_ms):
            hold = Hold(
                "breaker",
                *route,
                breaker.reason(),
                breaker.opened_at_ms,
                breaker.until_ms,
                breaker.state(now_ms) is BreakerState.THROTTLED,
            )
            holds.append(hold)
    return holds


def judge(
    record: SendRecord,
    account: Account,
    holds: Sequence[Hold],
    dead_reasons: Sequence[str] = (),
) -> tuple[str, str]:
    """The state and why; `dead_reasons` are of its dead letters that stopped it."""
    stopping = [hold for hold in holds if not hold.is_throttle]
    if not record.progress.is_over and stopping:
        return HALTED, "; ".join(map(_describe, stopping))
    if record.progress is Progress.FINISHED and dead_reasons:
        reasons = ", ".join(dead_reasons)
        return HALTED, f"what is left of it is in the dead letters: {reasons}"
    if holds:
        return record.progress.value, "; ".join(map(_describe, holds))
    if record.progress is Progress.REFUSED:
        why = "its caller was told an error; it is sent if the call is repeated"
        return record.progress.value, record.note or why
    if record.progress.is_over and account.unread and not record.note:
        return record.progress.value, "some of its entries could not be read"
    return record.progress.value, record.note


def _describe(hold: Hold) -> str:
    if hold.kind == "body":
        return f"{hold.provider} refuses its body: {hold.reason}"
    what = "asks to wait" if hold.is_throttle else "is refused"
    return f"credential {hold.integration} of {hold.provider} {what}: {hold.reason}"


def _first(name: str, jobs: Sequence[Job]) -> Job | None:
    """The first job that a unit or a walk comes from, see `core/accounts.py`."""
    digits = name.partition(":")[0].partition("@")[0].rstrip("!")
    if digits.isascii() and digits.isdigit() and int(digits) < len(jobs):
        return jobs[int(digits)]
    return None
