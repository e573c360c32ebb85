"""Holds back recipients that the limits of their request do not let pass now.

The limits are rate rules, and windows of time on each device's own clock. Recipients
that are held back return to the queue with a due time; that counts as no attempt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta, tzinfo
from functools import lru_cache

from tocsin.core.errors import ApiError
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import RateLimiter
from tocsin.core.push import RateRule, Recipients, TimeWindow
from tocsin.core.rates import US_PER_MS, RateLimit, buckets_name, take_token
from tocsin.core.template_values import DeviceFields
from tocsin.core.templates import Scope, Template, parse_template
from tocsin.core.timezones import find_zone
from tocsin.delivery.outages import Outages
from tocsin.delivery.reports import EXPIRED
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import FollowUp, Settlement
from tocsin.telemetry.metrics import Metrics

DUE_STEP_MS = 1000
"""Recipients held back to within this span travel in one job, not one each."""
RETRY_S = 0.5
_DAYS_AHEAD = 4
"""A zone may leave out a whole day, and a clock change may swallow a window."""
_HOUR_MS = 3_600_000

RATE_LIMITED = "rate_limited"
NO_TIMEZONE = "no_timezone"


@dataclass(slots=True)
class Held:
    """What becomes of a batch that cannot be sent as it is.

    `dropped` are indexes of the batch by the code under which they are counted.
    """

    follow: list[FollowUp] = field(default_factory=list)
    dropped: dict[str, list[int]] = field(default_factory=dict)

    def drop(self, code: str, indexes: list[int]) -> None:
        """Give these up."""
        if indexes:
            self.dropped.setdefault(code, []).extend(indexes)


class BatchLimits:
    """Decides before each batch which of its recipients may be sent to."""

    def __init__(
        self,
        *,
        limiter: RateLimiter,
        settlement: Settlement,
        clock: Clock,
        metrics: Metrics,
        outages: Outages | None = None,
    ) -> None:
        self._outages = outages or Outages()
        self._limiter = limiter
        self._settlement = settlement
        self._clock = clock
        self._metrics = metrics

    async def hold_back(self, run: Run) -> Held | None:
        """What shall happen instead of sending, or `None`: send to all pending.

        Recipients that got a token come back as a job of their own, which is marked
        `admitted`. So neither a take-over after a crash nor a retry takes a second one.
        """
        payload = run.payload
        held = Held()
        passing = run.pending
        # The window first: who cannot be reached now must not cost a token.
        if payload.window is not None:
            passing = self._sort_by_window(payload.window, run, held)
        rate = payload.rate
        if rate is not None and not run.job.work.admitted and passing:
            passing = await self._take_tokens(rate, run, passing, held)
        elif not (held.follow or held.dropped):
            return None
        if passing:
            part = self._settlement.part(run, passing)
            work = replace(part.work, admitted=rate is not None)
            held.follow.insert(0, (replace(part, work=work), 0))
        return held

    def _sort_by_window(self, window: TimeWindow, run: Run, held: Held) -> list[int]:
        now_ms = self._clock.now_ms()
        found = sort_by_window(window, run.recipients.timezones, run.pending, now_ms)
        held.drop(NO_TIMEZONE, found.nowhere)
        for due_ms, indexes in sorted(found.later.items()):
            self._put_off(run, indexes, due_ms, held)
        return found.now

    def _put_off(self, run: Run, indexes: list[int], due_ms: int, held: Held) -> None:
        job = run.job
        if job.expire_at_ms and due_ms >= job.expire_at_ms:
            held.drop(EXPIRED, indexes)
            return
        # A window may stay closed longer than retries may last: the age of the tries
        # begins again when it opens.
        part = replace(self._settlement.part(run, indexes), first_try_at_ms=0)
        held.follow.append((part, due_ms))

    async def _take_tokens(
        self, rate: RateRule, run: Run, indexes: Sequence[int], held: Held
    ) -> list[int]:
        keys = bucket_keys(rate, run.recipients, indexes)
        answers = await self._ask(keys, rate)
        passing = [i for i, at_ms in zip(indexes, answers, strict=True) if not at_ms]
        over = len(answers) - len(passing)
        if not over:
            return passing
        self._metrics.rate_limit_hits.add(over)
        if rate.drop:
            held.drop(
                RATE_LIMITED,
                [i for i, at_ms in zip(indexes, answers, strict=True) if at_ms],
            )
            return passing
        by_due: dict[int, list[int]] = {}
        for index, due_ms in zip(indexes, spread(keys, answers, rate), strict=True):
            if due_ms:
                by_due.setdefault(due_ms, []).append(index)
        for due_ms, late in sorted(by_due.items()):
            self._put_off(run, late, due_ms, held)
        return passing

    async def _ask(self, keys: Sequence[str], rate: RateRule) -> list[int]:
        while True:
            try:
                return await self._limiter.take(keys, rate.limits)
            except ApiError as error:
                self._outages.note(error, doing="read rate limits")
                await asyncio.sleep(RETRY_S)


def bucket_keys(
    rate: RateRule, recipients: Recipients, indexes: Sequence[int]
) -> list[str]:
    """The bucket key of each recipient; a device without a user has its own id there.

    Without that, all devices that are logged out would share one bucket.
    """
    if not rate.key:
        return [f"device:{recipients.device_ids[index]}" for index in indexes]
    render = _key_template(rate.key).render
    keys = []
    for index in indexes:
        each = recipients[index]
        device = DeviceFields(each.device_id, each.user or each.device_id)
        keys.append("key:" + render(device))
    return keys


def spread(keys: Sequence[str], answers: Sequence[int], rate: RateRule) -> list[int]:
    """When each recipient without a token is due, in Unix milliseconds; 0 for the rest.

    Several that wait for one bucket get due times as far apart as its tokens: else
    all of them would come back for the next one.
    """
    spacing_us = max(limit.spacing_us for limit in rate.limits)
    waiting: Counter[str] = Counter()
    dues: list[int] = []
    for key, at_ms in zip(keys, answers, strict=True):
        if not at_ms:
            dues.append(0)
            continue
        due_ms = at_ms + waiting[key] * spacing_us // US_PER_MS
        waiting[key] += 1
        # Rounded up: before its time there is no token yet.
        dues.append(-(-due_ms // DUE_STEP_MS) * DUE_STEP_MS)
    return dues


class MemoryRateLimiter:
    """`RateLimiter` of one process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_at_us: dict[str, list[int]] = {}
        self._next_sweep = 1000

    async def take(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[int]:
        """As the port says."""
        now_us = self._clock.now_ms() * US_PER_MS
        if len(self._full_at_us) > self._next_sweep:
            self._sweep(now_us)
        unused = [0] * len(limits)
        answers: list[int] = []
        for key in keys:
            name = buckets_name(key, limits)
            before = self._full_at_us.get(name, unused)
            allowed_us, after = take_token(before, limits, now_us)
            if not allowed_us:
                self._full_at_us[name] = after
            answers.append(-(-allowed_us // US_PER_MS))
        return answers

    def _sweep(self, now_us: int) -> None:
        # A full bucket and one that was never used answer alike, so it can go. The
        # next sweep comes when the rest has doubled: then its cost is spread.
        self._full_at_us = {
            name: states
            for name, states in self._full_at_us.items()
            if max(states) > now_us
        }
        self._next_sweep = 2 * len(self._full_at_us) + 1000


@lru_cache(maxsize=256)
def _key_template(key: str) -> Template:
    return parse_template(key, Scope())


@dataclass(slots=True)
class Sorted:
    """Indexes of recipients by when they may be sent to.

    `later` is by due Unix milliseconds; `nowhere` have no timezone and are dropped.
    """

    now: list[int] = field(default_factory=list)
    later: dict[int, list[int]] = field(default_factory=dict)
    nowhere: list[int] = field(default_factory=list)


def sort_by_window(
    window: TimeWindow, timezones: Sequence[str], indexes: Iterable[int], now_ms: int
) -> Sorted:
    """Sort recipients; `timezones` is empty where none is known of any."""
    found = Sorted()
    # A page has thousands of devices, and few zones.
    opens: dict[str, int | None] = {}
    for index in indexes:
        name = timezones[index] if timezones else ""
        if name not in opens:
            zone = find_zone(name)
            opens[name] = None if zone is None else opens_at_ms(window, zone, now_ms)
        due_ms = opens[name]
        if due_ms is None:
            target = found.now if window.no_tz_send_now else found.nowhere
        else:
            target = found.later.setdefault(due_ms, []) if due_ms else found.now
        target.append(index)
    return found


def opens_at_ms(window: TimeWindow, zone: tzinfo, now_ms: int) -> int:
    """Unix milliseconds of the window's next start, or 0 while it is open.

    If a clock change skips the start, the window opens later by what was skipped, an
    hour as a rule, as long as that is inside the window; else that day has no start.
    If the start comes twice, the first one counts.
    """
    now = datetime.fromtimestamp(now_ms // 1000, zone)
    if _is_open(window, now):
        return 0
    start = time(window.after_s // 3600, window.after_s // 60 % 60, window.after_s % 60)
    for ahead in range(_DAYS_AHEAD):
        day = now.date() + timedelta(days=ahead)
        for fold in (0, 1):
            wall = datetime.combine(day, start.replace(fold=fold), tzinfo=zone)
            due_s = int(wall.timestamp())
            # A time that the clock skips is mapped to one outside of the gap: so the
            # zone has to say once more whether the window holds it.
            if due_s * 1000 > now_ms and _is_open(
                window, datetime.fromtimestamp(due_s, zone)
            ):
                return due_s * 1000
    return now_ms + _HOUR_MS  # no zone is that odd; look again then


def _is_open(window: TimeWindow, at: datetime) -> bool:
    second = at.hour * 3600 + at.minute * 60 + at.second
    # A window whose start is after its end spans midnight.
    if window.after_s <= window.before_s:
        return window.after_s <= second <= window.before_s
    return second >= window.after_s or second <= window.before_s
