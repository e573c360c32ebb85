"""Plays one plan: calls and faults at their moments, then healing, then the count."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import redis
from tests.disaster import faults
from tests.disaster.accounts import Account, settle_accounts
from tests.disaster.books import Books, read_books
from tests.disaster.callers import Callers, Record
from tests.disaster.schedule import Plan
from tests.disaster.stage import Stage, open_stage
from tests.support.postgres import PostgresServer

SETTLED_WITHIN_S = 90.0
RECORDED_LATE = 100
"""Results that a worker may have in hand, not yet recorded."""
_POLL_S = 0.1
_QUIET_POLLS = 3


@dataclass
class Result:
    """A run that was played: its account, and what else went wrong."""

    plan: Plan
    account: Account
    took_s: float
    wrong: list[str] = field(default_factory=list)
    phases: list[float] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.account.num_lost or self.account.halved or self.wrong)


def play(
    plan: Plan, directory: Path, postgres: PostgresServer, certificates: Path
) -> Result:
    """Play the plan; its files stay in `directory`, its processes do not stay."""
    began = time.monotonic()
    with open_stage(plan, directory, postgres, certificates) as stage:
        stage.begin()
        phases = [time.monotonic() - began]
        ends_s = max(plan.ends_s, 1.0) + SETTLED_WITHIN_S
        callers = Callers(stage.doors, time.monotonic() + 0.05, ends_s)
        for send in plan.sends:
            callers.start(send, f"d{plan.seed}")
        _Player(stage).play()
        phases.append(time.monotonic() - began)
        wrong = _settle(stage, callers)
        phases.append(time.monotonic() - began)
        books = read_books(stage, callers.records)
        witnessed = stage.witness.witnessed
        account = settle_accounts(
            callers.records,
            witnessed.got,
            witnessed.refused,
            stage.removed_tokens(),
            books.letters,
        )
        wrong += books.faults
        wrong += [line for child in stage.children.values() for line in child.crashes]
    wrong += _compare(plan, callers.records, account, books)
    return Result(plan, account, time.monotonic() - began, wrong, phases)


def _compare(
    plan: Plan, records: Sequence[Record], account: Account, books: Books
) -> Iterator[str]:
    """What of a count is no loss, and wrong nevertheless."""
    for record in records:
        if len(record.uids) > 1:
            yield f"{record.send.name} has several uids: {sorted(record.uids)}"
    for name, count in account.expired_of.items():
        if books.expired.get(name, count) < count and not plan.loses_data:
            yield f"{count} of {name} expired, its account has {books.expired[name]}"
    bound = most_extra(plan)
    if bound is not None and account.extra > bound:
        yield f"{account.extra} messages too many, {bound} are explained"
    if plan.most_twice is not None and account.twice > plan.most_twice:
        yield f"{account.twice} twice, {plan.most_twice} at most may be"


def most_extra(plan: Plan) -> int | None:
    """How many messages may come twice; `None` where nobody can tell."""
    if plan.loses_data:
        return None
    ends = 0
    for fault in plan.faults:
        if fault.target == "provider" or fault.kind == "clock steps":
            return None
        is_of_worker = fault.target.startswith("worker") and fault.how != "SIGTERM"
        is_of_queue = fault.target == ("redis" if plan.queue == "redis" else "postgres")
        # Each worker may lose what it has in hand where the queue is away for long.
        ends += is_of_worker + plan.workers * is_of_queue
    if any("-" in token for send in plan.sends for token in send.tokens):
        return None  # recipients whose answers get lost
    return ends * (plan.streams * plan.connections + RECORDED_LATE)


class _Player:
    """Does the faults of a plan at their moments, in the main thread."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._moments: list[tuple[float, Callable[[], None]]] = []
        for fault in stage.plan.faults:
            ahead_s = faults.ahead_s(fault)
            if ahead_s:
                at_s = max(0.0, fault.at_s - ahead_s)
                self._add(at_s, partial(faults.prepare, stage, fault))
            self._add(fault.at_s, partial(faults.begin, stage, fault))
            over_s = fault.at_s + fault.lasts_s
            self._add(over_s, partial(faults.end, stage, fault))

    def play(self) -> None:
        """Until the last of them is over."""
        began = time.monotonic()
        for at_s, act in sorted(self._moments, key=lambda moment: moment[0]):
            while (left_s := began + at_s - time.monotonic()) > 0:
                self._stage.supervise()
                time.sleep(min(left_s, _POLL_S))
            act()

    def _add(self, at_s: float, act: Callable[[], None]) -> None:
        self._moments.append((at_s, act))


def _settle(stage: Stage, callers: Callers) -> list[str]:
    """Wait until every caller has its answer and nothing is left to do."""
    end = time.monotonic() + SETTLED_WITHIN_S
    wrong: list[str] = []
    try:
        stage.wait_ready(stage.doors)
    except TimeoutError as error:
        wrong.append(str(error))
    while not callers.join(_POLL_S):
        stage.supervise()
        if time.monotonic() > end:
            callers.stop()
            wrong.append("callers without an answer, though all is well again")
            break
    quiet = jobs = sends = 0
    while quiet < _QUIET_POLLS:
        stage.supervise()
        with contextlib.suppress(redis.RedisError, psycopg.Error):
            jobs, sends = stage.unfinished(), stage.open_sends()
            quiet = 0 if jobs or sends else quiet + 1
        if time.monotonic() > end:
            wrong.append(
                f"{jobs} jobs are left and {sends} sends open,"
                f" {SETTLED_WITHIN_S:g} s after the end"
            )
            break
        time.sleep(_POLL_S)
    return wrong
