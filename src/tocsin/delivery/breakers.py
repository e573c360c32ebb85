"""Shares the breakers of credentials with all workers, and probes the open ones.

It keeps the state of every credential of this worker. What opens a breaker is decided
where answers are noted (`credentials.py`), what follows from one in `settlement.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import chain

import structlog

from tocsin.core.breaker import (
    HALT_KEPT_MS,
    Breaker,
    BreakerState,
    Cause,
    credential_name,
    read_breaker,
    read_halt,
)
from tocsin.core.errors import ApiError, QueueUnavailable
from tocsin.core.lanes import batch_queues
from tocsin.core.outcome import Outcome
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Backlog
from tocsin.delivery.credentials import CredentialState
from tocsin.delivery.outages import Outages
from tocsin.telemetry.metrics import Metrics

LOOK_EVERY_S = 0.5
"""A worker knows of what another one found at most so much later."""
PATIENCE_S = 3.0
"""How long sharing may take. Sending waits for it, so it goes on alone afterwards."""
COUNT_EVERY_MS = 5_000
SOONEST_LOOK_MS = 5_000
"""Batches that wait for a probe are looked at again after this time, so that what a
person mends is not noticed minutes later."""
MS_PER_WAITING_JOB = 5
"""... or later, where many wait: all workers together look at 200 of them a second."""
SPREAD_MS = 500
"""Jobs that wait fall due within this time, in no order: so any of them may be the one
that probes."""
FORGOTTEN_AFTER_MS = 86_400_000
"""A breaker that nobody probed for so long belongs to a key that nobody uses."""
SWEEP_EVERY_MS = 60_000

_STATE_VALUES = {state: value for value, state in enumerate(BreakerState)}
_NO_ANSWER = QueueUnavailable("no answer in time")

_log = structlog.get_logger(__name__)


class Permit(Enum):
    """What a batch may do now."""

    GO = "go"
    WAIT = "wait"
    PROBE = "probe"
    """Send to one recipient, then call `Breakers.end_probe`."""


class LocalBreakerStore:
    """A `BreakerStore` of this process alone, where workers have no store in common."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def fetch(self) -> Mapping[str, str]:
        """See the port."""
        return dict(self._texts)

    async def swap(self, name: str, before: str | None, after: str | None) -> bool:
        """See the port."""
        if self._texts.get(name) != before:
            return False
        if after is None:
            self._texts.pop(name, None)
        else:
            self._texts[name] = after
        return True


class _Tracked:
    """A credential of this worker, and what the store was last seen to have of it."""

    def __init__(self, state: CredentialState, name: str) -> None:
        self.state = state
        self.name = name
        self.text: str | None = None
        self.changes = 0
        self.told: Breaker | None = None
        self.sharing = asyncio.Lock()

    def know(self, text: str | None) -> None:
        """The store has this now."""
        self.text = text
        self.changes += 1


class Breakers:
    """The credentials of one worker, and their breakers over all workers.

    `worker` names this one among those that probe. `digest` tells the key of a
    credential from another one, see `credential_name`; `backlog` says how much waits.
    """

    def __init__(
        self,
        store: BreakerStore,
        *,
        clock: Clock,
        metrics: Metrics,
        worker: str = "worker",
        backlog: Backlog | None = None,
        digest: Callable[[str], str] = lambda _integration: "",
        outages: Outages | None = None,
        spread_ms: int = SPREAD_MS,
    ) -> None:
        self._store = store
        self._spread_ms = spread_ms
        self._clock = clock
        self._metrics = metrics
        self._worker = worker
        self._backlog = backlog
        self._digest = digest
        self._outages = outages or Outages()
        self._tracked: dict[tuple[str, str], _Tracked] = {}
        self._by_state: dict[CredentialState, _Tracked] = {}
        self.listeners: list[Callable[[Mapping[str, str]], None]] = []
        self._waiting: Mapping[str, int] = {}
        self._counted_at_ms = self._swept_at_ms = 0

    def credential(self, provider: str, integration: str) -> CredentialState:
        """The state of this credential, as it is now."""
        key = (provider, integration)
        tracked = self._tracked.get(key)
        if tracked is None:
            state = CredentialState(*key)
            name = credential_name(*key, self._digest(integration))
            tracked = self._tracked[key] = _Tracked(state, name)
            self._by_state[state] = tracked
            self._show(tracked)
        return tracked.state

    def forget(self, provider: str, integration: str) -> None:
        """Another key has taken the place of this one, and starts without a breaker."""
        tracked = self._tracked.pop((provider, integration), None)
        if tracked is None:
            return
        del self._by_state[tracked.state]
        if tracked.state.breaker is not None:
            _log.info(
                "credential was changed, so nothing waits for it any more",
                provider=provider,
                integration=integration,
            )
        self.credential(provider, integration)

    def must_wait(self, state: CredentialState) -> bool:
        """Whether a batch has to wait now; else `ask` says what it may do."""
        breaker, now_ms = state.breaker, self._clock.now_ms()
        return breaker is not None and (
            breaker.stops(now_ms) and now_ms < breaker.until_ms
        )

    async def ask(self, state: CredentialState) -> Permit:
        """Whether a batch may be sent through it now, wait, or probe."""
        breaker, now_ms = state.breaker, self._clock.now_ms()
        if breaker is None or not breaker.stops(now_ms):
            return Permit.GO
        if not breaker.needs_probe or now_ms < breaker.until_ms:
            return Permit.WAIT
        # Before any await: of two batches of this worker one probes.
        claim = breaker.claimed(self._worker, now_ms)
        state.change(claim)
        await self.share(state)
        if state.breaker is None:
            return Permit.GO
        return Permit.PROBE if state.breaker == claim else Permit.WAIT

    async def end_probe(self, state: CredentialState, outcome: Outcome | None) -> None:
        """Act on the answer of a probe, or on none, where it was not sent."""
        breaker = state.breaker
        # Somebody may have closed it by hand, or taken it over since.
        if breaker is None or breaker.prober != self._worker:
            return
        state.change(breaker.after_probe(outcome, self._clock.now_ms()))
        await self.share(state)

    def due_ms(self, state: CredentialState) -> int:
        """When a batch that waits for it is to be looked at again (Unix ms)."""
        breaker, now_ms = state.breaker, self._clock.now_ms()
        if breaker is None:
            return 0
        due_ms = max(breaker.until_ms, now_ms + 1000)
        if breaker.needs_probe:
            count = self._waiting.get(state.provider, 0)
            look_ms = max(SOONEST_LOOK_MS, MS_PER_WAITING_JOB * count)
            due_ms = min(due_ms, now_ms + look_ms)
        return due_ms + int(random.uniform(0, self._spread_ms))  # noqa: S311 - spreads work

    async def share(self, state: CredentialState) -> None:
        """Tell the other workers of a change made here, or take over theirs."""
        tracked = self._by_state.get(state)
        if tracked is None:  # of a key that is not used any more
            state.is_unshared = False
            return
        async with tracked.sharing:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while state.is_unshared:
                        await self._share(tracked)
            except (ApiError, TimeoutError) as error:
                fault = error if isinstance(error, ApiError) else _NO_ANSWER
                self._outages.note(fault, doing="share the state of a credential")
                self._tell(tracked, state.breaker)
        self._show(tracked)

    async def follow(self) -> None:
        """Learn what other workers found, as long as the task lives."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Learn it once; a store that is away is asked again next time."""
        every = list(self._tracked.values())
        before = [each.changes for each in every]
        try:
            async with asyncio.timeout(PATIENCE_S):
                texts = await self._store.fetch()
                await self._count_waiting()
        except (ApiError, TimeoutError):
            return  # whoever needs the store reports that it is away
        for listener in self.listeners:
            listener(texts)
        for tracked, changes in zip(every, before, strict=True):
            if tracked.state.is_unshared:
                await self.share(tracked.state)
            elif tracked.changes == changes:
                self._adopt(tracked, texts.get(tracked.name))
            self._show(tracked)
        await self._sweep(texts)

    async def _share(self, tracked: _Tracked) -> None:
        state, wanted = tracked.state, tracked.state.breaker
        text = None if wanted is None else wanted.to_text()
        if await self._store.swap(tracked.name, tracked.text, text):
            tracked.know(text)
            state.is_unshared = state.breaker is not wanted
            self._tell(tracked, wanted)
            return
        found = (await self._store.fetch()).get(tracked.name)
        tracked.know(found)
        theirs = None if found is None else read_breaker(found)
        if state.breaker is not wanted or _outranks(wanted, theirs):
            return  # once more, over what stands there now
        state.breaker, state.is_unshared = theirs, False
        tracked.told = theirs

    def _adopt(self, tracked: _Tracked, text: str | None) -> None:
        if text == tracked.text:
            return
        tracked.know(text)
        tracked.state.breaker = None if text is None else read_breaker(text)
        tracked.told = tracked.state.breaker

    def _tell(self, tracked: _Tracked, breaker: Breaker | None) -> None:
        """Log and count a change that this worker made; each once."""
        before, tracked.told = tracked.told, breaker
        if breaker == before or (breaker is not None and breaker.prober):
            return
        state = tracked.state
        about: dict[str, object] = {
            "provider": state.provider,
            "integration": state.integration,
        }
        now_ms = self._clock.now_ms()
        if breaker is None:
            if before is not None and before.needs_probe:
                _log.info(
                    "provider credential works again; what waited for it is sent",
                    **about,
                    code=before.code,
                    open_s=round((now_ms - before.opened_at_ms) / 1000, 1),
                )
            return
        about |= {
            "code": breaker.code,
            "detail": breaker.detail,
            "push_id": breaker.push_id,
            "pause_s": round((breaker.until_ms - now_ms) / 1000, 1),
        }
        log = _log.error if breaker.needs_probe else _log.warning
        if before is None or before.opened_at_ms != breaker.opened_at_ms:
            self._metrics.push_breaker_openings.add(
                1, state.provider, state.integration, breaker.code
            )
            log("provider credential paused; its pushes wait in the queue", **about)
        elif breaker.failed_probes > before.failed_probes:
            open_s = round((now_ms - breaker.opened_at_ms) / 1000, 1)
            log(
                "provider credential is still refused; its pushes wait in the queue",
                **about,
                open_s=open_s,
            )

    def _show(self, tracked: _Tracked) -> None:
        state = tracked.state
        if self._tracked.get((state.provider, state.integration)) is not tracked:
            return
        breaker = state.breaker
        word = BreakerState.CLOSED
        if breaker is not None:
            word = breaker.state(self._clock.now_ms())
        self._metrics.push_breaker_state.set(
            _STATE_VALUES[word], state.provider, state.integration
        )

    async def _count_waiting(self) -> None:
        open_ = {s.provider for s in self._by_state if s.breaker is not None}
        now_ms = self._clock.now_ms()
        if (
            self._backlog is None
            or not open_
            or now_ms - self._counted_at_ms < COUNT_EVERY_MS
        ):
            return
        self._counted_at_ms = now_ms
        names = {provider: batch_queues(provider) for provider in sorted(open_)}
        found = await self._backlog.waiting([*chain(*names.values())])
        self._waiting = {
            provider: sum(found[queue] for queue in queues)
            for provider, queues in names.items()
        }

    async def _sweep(self, texts: Mapping[str, str]) -> None:
        """Take away what nobody meets any more: unused keys, halted sends."""
        now_ms = self._clock.now_ms()
        if now_ms - self._swept_at_ms < SWEEP_EVERY_MS:
            return
        self._swept_at_ms = now_ms
        used = {each.name for each in self._tracked.values()}
        for name, text in texts.items():
            if name not in used and _is_forgotten(text, now_ms):
                try:
                    await self._store.swap(name, text, None)
                except ApiError:
                    return


def _is_forgotten(text: str, now_ms: int) -> bool:
    if (breaker := read_breaker(text)) is not None:
        return breaker.until_ms < now_ms - FORGOTTEN_AFTER_MS
    halt = read_halt(text)
    return halt is not None and halt.at_ms < now_ms - HALT_KEPT_MS


def _outranks(ours: Breaker | None, theirs: Breaker | None) -> bool:
    """Whether ours is to stand, where another worker changed it at the same time."""
    if ours is None:
        # What we wanted to close was changed: that change is newer.
        return False
    if theirs is None:
        # Closed there. A claim or a longer pause of what was closed is void.
        return not (ours.prober or ours.failed_probes)
    return theirs.cause is Cause.THROTTLE and ours.cause is not Cause.THROTTLE
