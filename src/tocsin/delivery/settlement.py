"""Decides what follows from every result; no other module does.

It turns outcomes into dead tokens, retries and dead letters. It sends
nothing, and it does not know how a queue or a registry works.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import structlog

from tocsin.core.device import DeadToken
from tocsin.core.outcome import Outcome, Result, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.devices import DeviceStore, VerdictStore
from tocsin.core.ports.sends import ResultSink
from tocsin.core.push import Job, SendJob
from tocsin.core.push_services import SERVICES
from tocsin.core.removals import RemovalLimit
from tocsin.delivery.body_trials import BodyTrials
from tocsin.delivery.breakers import Breakers, LocalBreakerStore
from tocsin.delivery.credentials import CredentialState, Trust
from tocsin.delivery.outages import Outages
from tocsin.delivery.receipts import TicketKeeper
from tocsin.delivery.removal import DeviceRemoval
from tocsin.delivery.reports import Reports
from tocsin.delivery.result_log import ResultLog
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Run
from tocsin.delivery.waiting import first_try_ms, wait_for_credential
from tocsin.telemetry.metrics import Metrics

FollowUp = tuple[Job, int]
"""A job and when it is due, in Unix milliseconds (0: now)."""
DeadEnd = tuple[Job, str]
"""A job and why it ended."""

DUE_STEP_MS = 500
"""Retries due within this span travel in one job, not one each."""

LAST_TRY_AHEAD_MS = 10_000
"""A last try is moved to the end of all tries only if that end is further away."""
FLOOD = "not believed, since the provider calls nearly every token dead"
"""Why a recipient with a definite verdict is in the dead letters."""
DOUBT = "not believed, since too little or too much of it came from this credential"
"""Why a recipient with a guarded verdict is in the dead letters."""

TRIED_LATER_MS = 1_000

DEVICES_OF_ONE = 3
"""Guarded verdicts of a batch without any delivery are believed up to this number:
about as many devices as one person has."""

_TRIED_AGAIN = frozenset({Verdict.RETRY, Verdict.MISCONFIGURED, Verdict.SUSPECT})

_log = structlog.get_logger(__name__)


class Settlement:
    """Applies results.

    `breakers` have the state of every credential, `trials` that of bodies. `results`
    tells callers of each recipient, `None` where nobody wants to know.
    """

    def __init__(
        self,
        *,
        devices: DeviceStore | None,
        retry: RetryPolicy,
        clock: Clock,
        metrics: Metrics,
        sinks: Sequence[ResultSink] = (),
        tickets: TicketKeeper | None = None,
        verdicts: VerdictStore | None = None,
        outages: Outages | None = None,
        breakers: Breakers | None = None,
        trials: BodyTrials | None = None,
        removal_limit: RemovalLimit | None = None,
        results: ResultLog | None = None,
    ) -> None:
        store = LocalBreakerStore()
        self.breakers = breakers or Breakers(store, clock=clock, metrics=metrics)
        self.trials = trials or BodyTrials(store, clock=clock, metrics=metrics)
        self._removal = DeviceRemoval(
            devices, metrics, verdicts, outages, removal_limit
        )
        self._tickets = tickets
        self._retry = retry
        self._clock = clock
        self.reports = Reports(metrics, clock, sinks)
        self.results = results

    @property
    def retry(self) -> RetryPolicy:
        """How long tries and waiting last."""
        return self._retry

    def credential(self, job: Job) -> CredentialState:
        """The state of the credential that this job is sent through."""
        return self.breakers.credential(job.provider, job.credential)

    def forget(self, provider: str, integration: str) -> None:
        """Drop the state of this credential: another one has taken its place."""
        self.breakers.forget(provider, integration)

    async def take_in(self, runs: Sequence[Run]) -> None:
        """Count new results, tell the sinks, keep tickets, remove dead tokens.

        Called before progress is recorded: after a crash in between the dead token
        is found again instead of forgotten.
        """
        # Locked in one order by all: the journal and the end of a batch may take in
        # the same runs, and would else wait for each other for ever.
        waiting = sorted(runs, key=id)
        async with AsyncExitStack() as stack:
            for run in waiting:
                await stack.enter_async_context(run.taking)
            await self._take_in(runs)

    async def _take_in(self, runs: Sequence[Run]) -> None:
        # First all answers are noted, then they are shared with the other workers, and
        # only then judged: what one of these batches shows of a credential counts for
        # each of them.
        fresh = [(run, results) for run in runs if (results := run.take())]
        touched: dict[CredentialState, set[Verdict]] = {}
        for run, results in fresh:
            credential = self._state(run)
            self._note(run, credential, results)
            seen = touched.setdefault(credential, set())
            seen.update(outcome.verdict for _, outcome, _ in results)
        now_ms = self._clock.now_ms()
        known = {
            credential: await self._removal.share(
                credential, now_ms, at_once=_is_urgent(credential, seen)
            )
            for credential, seen in touched.items()
        }
        dead: dict[CredentialState, list[DeadToken]] = {}
        for run, results in fresh:
            credential = self._state(run)
            self._pause_if_broken(run, credential, results)
            found = await self._find_dead(run, results, credential)
            if found and known[credential]:
                run.removed += len(found)
                dead.setdefault(credential, []).extend(found)
            if credential.suspects:
                await self._removal.acquit(credential, _delivered_to(run, results))
            # After `_find_dead`, which fills `run.held`: a verdict that is not believed
            # must not end its recipient.
            run.mark_done(results)
            self.reports.results(run.job, run.payload, results)
            if self._tickets is not None:
                await self._tickets.keep(run, results)
        if self.results is not None:
            await self.results.answered(fresh)
        for credential in touched:
            if credential.is_unshared:
                await self.breakers.share(credential)
        for credential, tokens in dead.items():
            await self._removal.remove(credential, tokens)
        for run in runs:
            if run.complete and run.trust is None:
                credential = self._state(run)
                await self._judge(run, credential, known=known.get(credential, True))

    def plan(self, run: Run) -> tuple[list[FollowUp], list[DeadEnd]]:
        """What follows once no further request of this run will start.

        It counts nothing: that is for `count_ends`, once the queue has all of it.
        """
        now_ms = self._clock.now_ms()
        first_ms = first_try_ms(run.job, now_ms)
        follow: list[FollowUp] = []
        dead: list[DeadEnd] = []
        rejected: dict[str, list[int]] = {}
        waiting: list[tuple[int, str]] = []
        retries: dict[tuple[int, int], list[tuple[int, str]]] = {}
        trust = run.trust
        if unsent := run.unsent():
            self._put_back(run, unsent, follow, rejected)
        for index, outcome, _ in run.results:
            if outcome.verdict is Verdict.SUSPECT and trust is None:
                trust = self._trust_in(run)
            if outcome.verdict is Verdict.REJECTED:
                rejected.setdefault(_refusal(run, outcome), []).append(index)
            elif index in run.held:
                rejected.setdefault(f"{outcome.code}: {FLOOD}", []).append(index)
            elif outcome.verdict is Verdict.SUSPECT and trust is not Trust.BROKEN:
                if trust is Trust.DOUBTED or index in run.doubted:
                    rejected.setdefault(f"{outcome.code}: {DOUBT}", []).append(index)
                else:
                    run.suspected += 1
            elif outcome.verdict is Verdict.SUSPECT or (
                outcome.verdict is Verdict.MISCONFIGURED and outcome.slow_down
            ):
                # The credential is broken, not the recipient: that is no attempt.
                waiting.append((index, outcome.code))
            elif outcome.verdict in _TRIED_AGAIN:
                attempt, due_ms = self._next_try(run, outcome, now_ms)
                if due_ms > self._retry.gives_up_at_ms(first_ms):
                    reason = f"retries exhausted: {_reason(outcome)}"
                    rejected.setdefault(reason, []).append(index)
                else:
                    tried = retries.setdefault((attempt, due_ms), [])
                    tried.append((index, outcome.code))
        if waiting:
            self._wait(run, waiting, follow, rejected)
        for key, tried in sorted(retries.items()):
            self._retry_later(run, key, tried, first_ms, follow)
        for reason, indexes in rejected.items():
            dead.append((self.part(run, indexes), reason))
        return follow, dead

    def postpone(
        self, run: Run, credential: CredentialState
    ) -> tuple[list[FollowUp], list[DeadEnd]]:
        """What becomes of a batch whose credential is paused: nothing is tried."""
        due_ms = self.breakers.due_ms(credential)
        part = self.part(run, run.pending)
        found = self._waiting_job(part, credential, due_ms)
        if isinstance(found, str):
            return [], [(part, found)]
        return [(found, due_ms)], []

    def _put_back(
        self,
        run: Run,
        unsent: list[int],
        follow: list[FollowUp],
        rejected: dict[str, list[int]],
    ) -> None:
        """What was not tried goes back: at once, or until its credential may send.

        Of a send whose body is refused it ends, with the same reason as what was tried.
        """
        if run.trial is not None and run.trial.halt is not None:
            rejected.setdefault(run.trial.halt.reason(), []).extend(unsent)
            return
        credential = self._state(run)
        part = self.part(run, unsent)
        if not credential.is_paused(self._clock.now_ms()):
            follow.append((part, 0))
            return
        due_ms = self.breakers.due_ms(credential)
        found = self._waiting_job(part, credential, due_ms)
        if isinstance(found, str):
            rejected.setdefault(found, []).extend(unsent)
        else:
            follow.append((found, due_ms))

    def _wait(
        self,
        run: Run,
        tried: list[tuple[int, str]],
        follow: list[FollowUp],
        rejected: dict[str, list[int]],
    ) -> None:
        """Let these wait for their credential; `tried` are indexes and codes."""
        credential, now_ms = self._state(run), self._clock.now_ms()
        # A second at least, where the pause has ended or was never begun; and later
        # than what was not tried, so that the next probe asks for somebody else.
        due_ms = max(self.breakers.due_ms(credential), now_ms) + TRIED_LATER_MS
        indexes = [index for index, _ in tried]
        if run.job.expire_at_ms and due_ms >= run.job.expire_at_ms:
            _end_late(run, tried)
            return
        found = self._waiting_job(self.part(run, indexes), credential, due_ms)
        if isinstance(found, str):
            rejected.setdefault(found, []).extend(indexes)
            return
        run.retried.update(code for _, code in tried)
        follow.append((found, due_ms))

    def _waiting_job(
        self, part: SendJob, credential: CredentialState, due_ms: int
    ) -> SendJob | str:
        return wait_for_credential(
            part,
            credential.breaker,
            now_ms=self._clock.now_ms(),
            due_ms=due_ms,
            max_wait_s=self._retry.max_wait_s,
        )

    def _state(self, run: Run) -> CredentialState:
        """What a batch was begun with: its answers are not about a newer key."""
        return run.credential or self.credential(run.job)

    def _next_try(self, run: Run, outcome: Outcome, now_ms: int) -> tuple[int, int]:
        """The attempt number of the next try, and when it is due."""
        delay_s = self._retry.delay_s(run.job.provider, run.job.attempt, outcome)
        due_ms = now_ms + int(delay_s * 1000)
        # Rounded up: never earlier than a provider asked for.
        due_ms = -(-due_ms // DUE_STEP_MS) * DUE_STEP_MS
        if outcome.retry_after_s is not None:
            # A provider that asks for a time after the end of all tries gets one last
            # try at that end, instead of none.
            first_ms = first_try_ms(run.job, now_ms)
            last_ms = self._retry.gives_up_at_ms(first_ms)
            last_ms -= last_ms % DUE_STEP_MS
            if now_ms + LAST_TRY_AHEAD_MS < last_ms < due_ms:
                due_ms = last_ms
        return run.job.attempt + 1, due_ms

    def _retry_later(
        self,
        run: Run,
        key: tuple[int, int],
        tried: list[tuple[int, str]],
        first_ms: int,
        follow: list[FollowUp],
    ) -> None:
        """Add the next try of these to `follow`; `tried` are indexes and codes."""
        attempt, due_ms = key
        job = run.job
        if job.expire_at_ms and due_ms >= job.expire_at_ms:
            _end_late(run, tried)
            return
        run.retried.update(code for _, code in tried)
        part = self.part(run, [index for index, _ in tried])
        follow.append(
            (replace(part, attempt=attempt, first_try_at_ms=first_ms), due_ms)
        )

    def part(self, run: Run, indexes: Sequence[int]) -> SendJob:
        """The job of only these recipients, under an id of its own."""
        # One suffix only, however often a job is split: else ids grow with each retry.
        stem = run.job.id.partition("~")[0]
        return run.job.part(indexes, id=f"{stem}~{secrets.token_hex(4)}")

    async def _find_dead(
        self, run: Run, results: Sequence[Result], credential: CredentialState
    ) -> list[DeadToken]:
        """The devices that definite verdicts call dead, as far as they are believed."""
        definite = [
            (index, outcome)
            for index, outcome, _ in results
            if outcome.verdict is Verdict.UNREGISTERED
        ]
        if not definite:
            return []
        origins = {index: run.origin(index) for index, _ in definite}
        flooded = [
            each for each in set(origins.values()) if credential.is_flooded(each)
        ]
        for origin in flooded:
            # Earlier answers of this batch too: `hold_flood` restores their devices.
            run.held.update(
                index
                for index, outcome, _ in run.results
                if outcome.verdict is Verdict.UNREGISTERED
                and run.origin(index) == origin
            )
            codes = [code.code for index, code in definite if origins[index] == origin]
            # What came back may have been removed by other batches, which count it.
            run.removed -= min(
                run.removed, await self._removal.hold_flood(credential, codes, origin)
            )
        believed = [(i, outcome) for i, outcome in definite if i not in run.held]
        return _dead_tokens(run, believed)

    def _trust_in(self, run: Run) -> Trust:
        """What the guarded verdicts of a batch are worth.

        A batch with many of them and no delivery proves nothing of its tokens, even
        if other batches went well: it may have been sent while the credential was
        wrong for a while. With a few, it may be one person's old devices.
        """
        trust = self._state(run).trust()
        verdicts = [outcome.verdict for _, outcome, _ in run.results]
        alone = Verdict.DELIVERED not in verdicts and not run.done_before
        guarded = verdicts.count(Verdict.SUSPECT)
        if trust is Trust.BELIEVED and alone and guarded > DEVICES_OF_ONE:
            return Trust.DOUBTED
        return trust

    async def _judge(
        self, run: Run, credential: CredentialState, *, known: bool
    ) -> None:
        """Decide on the guarded verdicts of a batch once all its answers are there."""
        guarded = [
            (index, outcome)
            for index, outcome, _ in run.results
            if outcome.verdict is Verdict.SUSPECT
        ]
        if not guarded:
            return
        run.trust = self._trust_in(run)
        if run.trust is Trust.BELIEVED and known:
            run.doubted.update(
                index
                for index, _ in guarded
                if credential.trust_in(run.origin(index)) is not Trust.BELIEVED
            )
        else:
            run.doubted.update(index for index, _ in guarded)
        believed = [(i, outcome) for i, outcome in guarded if i not in run.doubted]
        run.removed += await self._removal.suspect(
            credential, _dead_tokens(run, believed)
        )
        codes = [outcome.code for index, outcome in guarded if index in run.doubted]
        await self._removal.hold(credential, codes)

    def _pause_if_broken(
        self, run: Run, credential: CredentialState, results: Sequence[Result]
    ) -> None:
        for _, outcome, at_ms in results:
            if outcome.verdict is Verdict.SUSPECT:
                credential.pause_if_broken(outcome, at_ms, push_id=run.job.push_id)
                return  # one is enough: all ask for the same pause

    def _note(
        self, run: Run, credential: CredentialState, results: Sequence[Result]
    ) -> None:
        push_id = run.job.push_id
        for index, outcome, at_ms in results:
            credential.note(outcome, at_ms, run.origin(index), push_id=push_id)


def _is_urgent(credential: CredentialState, seen: set[Verdict]) -> bool:
    """Whether these verdicts have to be shared at once, since others decide by them.

    Definite ones among healthy answers do not wait for the registry each time. But
    deliveries after guarded verdicts do: other workers that know only of the guarded
    ones would take the credential for broken.
    """
    return (
        Verdict.SUSPECT in seen
        or (Verdict.UNREGISTERED in seen and credential.is_unsure())
        or (Verdict.DELIVERED in seen and credential.is_doubted_by_others())
    )


def _end_late(run: Run, tried: Sequence[tuple[int, str]]) -> None:
    """Count these as expired, for their next try would be; indexes and codes."""
    run.too_late.update(code for _, code in tried)
    late = {index for index, _ in tried}
    run.unconfirmed += sum(
        outcome.maybe_sent for index, outcome, _ in run.results if index in late
    )


def no_integration(job: Job) -> str:
    """The reason of a dead letter whose credential this worker does not have."""
    return f"no_integration: {job.credential} is not configured, or not active, here"


def _reason(outcome: Outcome) -> str:
    return f"{outcome.code}: {outcome.detail}" if outcome.detail else outcome.code


def _refusal(run: Run, outcome: Outcome) -> str:
    """Why a recipient was rejected: for its own sake, or with all of its send."""
    trial = run.trial
    if outcome.of_body and trial is not None and trial.halt is not None:
        return trial.halt.reason()
    return _reason(outcome)


def _delivered_to(run: Run, results: Sequence[Result]) -> list[str]:
    """Ids of the devices that were delivered to; raw recipients have none."""
    ids = run.recipients.device_ids
    if not ids:
        return []
    return [ids[i] for i, outcome, _ in results if outcome.verdict is Verdict.DELIVERED]


def _dead_tokens(run: Run, accused: Sequence[tuple[int, Outcome]]) -> list[DeadToken]:
    """The dead tokens at these indexes; raw recipients have no device to remove."""
    job, recipients = run.job, run.recipients
    if not recipients.device_ids:
        return []
    rules = SERVICES.tokens_of(job.provider)
    return [
        DeadToken(
            device_id=recipients.device_ids[index],
            token=rules.comparable(rules.stored(recipients.targets[index])),
            # A device that registered again after this moment stays. The service may
            # name an earlier one (APNs 410), never a later: that would be another
            # clock, or another unit.
            before_ms=min(outcome.gone_at_ms or run.started_ms, run.started_ms),
            reason=f"{job.provider}: {outcome.code}",
            push_id=job.push_id,
        )
        for index, outcome in accused
    ]
