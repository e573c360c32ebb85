"""Builds and runs a worker: the mind, its providers, its own HTTP port."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import structlog

from tocsin.api.http_gateway import HttpGateway
from tocsin.app.analytics import open_analytics, purge_analytics
from tocsin.app.credentials import build_provider
from tocsin.app.lifecycle import (
    Stopper,
    keep_what_started,
    start_beside,
    unless_stopped,
)
from tocsin.app.online_first import open_online_users
from tocsin.app.queue_watching import start_queue_watch
from tocsin.app.receipts import purge_overdue, start_receipts
from tocsin.app.reloading import Reloader, Source
from tocsin.app.renewal import ProviderSet
from tocsin.app.resources import (
    Resources,
    consumer_name,
    open_resources,
    removal_limit,
)
from tocsin.app.send_log import start_send_log
from tocsin.app.tracing import exemplars, open_tracing, work_tracer
from tocsin.app.watching import Watcher
from tocsin.config import Config
from tocsin.config.integrations import Credential
from tocsin.core.device import RemovedFilter
from tocsin.core.errors import ApiError, InternalError
from tocsin.core.lanes import LaneChoice
from tocsin.core.ports.analytics import RowSink
from tocsin.core.ports.devices import DeviceStore
from tocsin.core.ports.providers import Expiring, PushProvider
from tocsin.core.ports.queue import JobQueue
from tocsin.core.ports.sends import ResultSink
from tocsin.delivery.body_trials import BodyTrials
from tocsin.delivery.breakers import Breakers, LocalBreakerStore
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.lane import RECIPIENTS_AHEAD
from tocsin.delivery.online import OnlineUsers
from tocsin.delivery.outages import Outages
from tocsin.delivery.recipients import Expander
from tocsin.delivery.reports import EventLog, LostJobs
from tocsin.delivery.result_log import ResultLog
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Journal
from tocsin.delivery.settlement import Settlement
from tocsin.delivery.shares import CredentialShares, Room
from tocsin.delivery.worker import Worker
from tocsin.telemetry.metrics import Metrics

REMOVED_KEPT_S = 30 * 86400
"""How long a soft-removed device can be brought back."""
CLEAN_INTERVAL_S = 300.0
CLEAN_LIMIT = 1000
COUNT_HELD_INTERVAL_S = 15.0

_log = structlog.get_logger(__name__)


async def start_worker(
    resources: Resources,
    credentials: ProviderSet,
    stack: AsyncExitStack,
    stopper: Stopper,
    *,
    sinks: Sequence[ResultSink] = (),
    online: OnlineUsers | None = None,
) -> Worker:
    """Build a worker on open resources and start it; `stack` drains it.

    `credentials` are those of `build_providers`, whose stack must be left later.
    `online` looks into channels, `None` where this process cannot.
    """
    config, queue = resources.config, resources.queue
    if queue is None:
        raise ValueError("a worker needs push_notifications.enabled_providers")
    outages, lost = Outages(), LostJobs(queue, resources.metrics)
    providers = credentials.providers
    breakers, trials = await _start_breakers(
        resources, queue, credentials, outages, stack
    )
    settlement = Settlement(
        devices=resources.devices,
        retry=_retry_policy(config),
        clock=resources.clock,
        metrics=resources.metrics,
        sinks=[*sinks, *_own_sinks(resources)],
        tickets=await start_receipts(resources, providers, stack, stopper),
        outages=outages,
        verdicts=resources.verdicts,
        breakers=breakers,
        trials=trials,
        removal_limit=removal_limit(config),
        results=_result_log(resources, outages),
    )
    room = Room(config.worker.concurrency, RECIPIENTS_AHEAD)
    shares = CredentialShares(providers, resources.clock, room=room)
    lanes = LaneChoice(config.worker.lanes)
    journal = Journal(queue, settlement, resources.clock, outages=outages)
    events = EventLog(row_sink(resources), resources.clock)
    # What the old credential was answered says nothing about the new one.
    credentials.listen(lambda each: settlement.forget(each.name, each.integration))
    worker = Worker(
        queue=queue,
        providers=providers,
        dispatcher=Dispatcher(
            queue=queue,
            providers=providers,
            journal=journal,
            settlement=settlement,
            clock=resources.clock,
            metrics=resources.metrics,
            limiter=resources.limiter,
            events=events,
            outages=outages,
            lost=lost,
            shares=shares,
            tracer=work_tracer(resources),
        ),
        expander=Expander(
            queue=queue,
            devices=resources.devices,
            batch_sizes={name: p.batch_size for name, p in providers.items()},
            settlement=settlement,
            clock=resources.clock,
            online=online,
            events=events,
            outages=outages,
            lost=lost,
            shares=shares,
        ),
        journal=journal,
        metrics=resources.metrics,
        concurrency=config.worker.concurrency,
        takeover_s=config.push_notifications.retry.takeover,
        on_death=stopper.fail,
        outages=outages,
        lost=lost,
        shares=shares,
        lanes=lanes,
        tracer=work_tracer(resources),
        results=settlement.results,
    )
    worker.start()
    stack.push_async_callback(worker.stop, config.shutdown.timeout)
    start_beside(_clean_for_ever(resources), stack)
    start_beside(show_held_removals(resources), stack)
    _log.info(
        "worker started",
        providers=sorted(providers),
        lanes=list(lanes.texts) or "all",
    )
    return worker


def _result_log(resources: Resources, outages: Outages) -> ResultLog | None:
    settings = resources.config.push_notifications.results
    if resources.results is None or settings.detail != "recipient":
        return None
    return ResultLog(
        resources.results,
        clock=resources.clock,
        metrics=resources.metrics,
        outages=outages,
        retries=settings.retries,
    )


async def _start_breakers(
    resources: Resources,
    queue: JobQueue,
    credentials: ProviderSet,
    outages: Outages,
    stack: AsyncExitStack,
) -> tuple[Breakers, BodyTrials]:
    """What stops credentials and sends, as other workers know it by now."""
    if resources.breakers is None:
        _log.info(
            "without a database or Redis each worker finds out for itself that a"
            " provider refuses a credential"
        )
    store = resources.breakers or LocalBreakerStore()
    trials = BodyTrials(
        store, clock=resources.clock, metrics=resources.metrics, outages=outages
    )
    breakers = Breakers(
        store,
        clock=resources.clock,
        metrics=resources.metrics,
        worker=consumer_name(),
        backlog=queue,
        digest=credentials.digest,
        outages=outages,
    )
    for provider in credentials.providers.values():
        breakers.credential(provider.name, provider.integration)
    breakers.listeners.append(trials.learn)
    await breakers.look()
    start_beside(breakers.follow(), stack)
    return breakers, trials


async def run_worker(
    config: Config,
    stopper: Stopper,
    *,
    source: Source | None = None,
) -> int:
    """The life of `tocsin worker`; `source` brings the configuration anew."""
    watcher = None if source is None else Watcher(config, source.path)
    async with AsyncExitStack() as stack:
        started = await unless_stopped(_start(config, stack, stopper), stopper)
        if started is not None:
            keep_what_started()
            if source is not None and watcher is not None:
                metrics, credentials = started
                reloader = Reloader(
                    config, source.reread, providers=credentials, metrics=metrics
                )
                watcher.start(reloader, stopper, stack)
        await stopper.wait()
    _log.info("worker stopped")
    return 0


def row_sink(resources: Resources) -> RowSink | None:
    """Where rows of analytics go, if anywhere."""
    return resources.analytics.writer if resources.analytics else None


async def _start(
    config: Config, stack: AsyncExitStack, stopper: Stopper
) -> tuple[Metrics, ProviderSet]:
    """Open everything and work; leaving `stack` drains and closes it."""
    resources = await open_resources(config, stack)
    resources.analytics = await open_analytics(
        config, resources.metrics, resources.database, stack
    )
    await open_tracing(resources, stack)
    await start_queue_watch(resources, stack)
    await start_send_log(resources, stack)
    credentials = await build_providers(resources, stack)
    if config.worker.port:
        gateway = HttpGateway(
            config.http_server.address,
            config.worker.port,
            checks=resources.checks,
            notices=resources.notices,
            render_metrics=lambda: (
                resources.metrics.render(),
                resources.metrics.content_type,
            ),
            render_exemplars=exemplars(resources),
            setting="worker.port",
        )
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        # Entered after `stop`, so called before it: balancers are told before
        # the port closes.
        stack.callback(gateway.begin_drain)
    online = open_online_users(config, resources.metrics, resources.clock, stack)
    await start_worker(resources, credentials, stack, stopper, online=online)
    return resources.metrics, credentials


def _own_sinks(resources: Resources) -> list[ResultSink]:
    return [resources.analytics.writer] if resources.analytics else []


async def build_providers(resources: Resources, stack: AsyncExitStack) -> ProviderSet:
    """The adapter of each active integration; `stack` closes them."""
    push = resources.config.push_notifications
    if push.dry_run:
        _log.warning("dry run: nothing will be sent to any provider")
        build = _dry_run_builder(push.dry_run_latency)
    else:
        build = _builder(resources)

    def show_expiry(provider: PushProvider) -> None:
        if isinstance(provider, Expiring) and provider.credential_expires_at_s:
            resources.metrics.push_credential_expiry.set(
                provider.credential_expires_at_s, provider.name, provider.integration
            )

    credentials = ProviderSet(push.active_credentials, build, on_use=show_expiry)
    stack.push_async_callback(credentials.close)
    return credentials


def _builder(resources: Resources) -> Callable[[Credential], PushProvider]:
    return lambda credential: build_provider(credential, resources.tokens)


def _dry_run_builder(latency_s: float) -> Callable[[Credential], PushProvider]:
    from tocsin.providers.dry_run import DryRunProvider

    return lambda each: DryRunProvider(
        each.provider,
        batch_size=each.batch_size,
        latency_s=latency_s,
        integration=each.identifier,
    )


def _retry_policy(config: Config) -> RetryPolicy:
    push = config.push_notifications
    return RetryPolicy(
        first_delay_by_provider={
            name: push.first_delay_for(name) for name in push.active_providers
        },
        least_delay_by_provider={
            name: push.retry.least_delay_for(name) for name in push.active_providers
        },
        max_delay_s=push.retry.max_delay,
        max_age_s=push.retry.max_age,
        max_wait_s=push.retry.max_wait,
    )


async def show_held_removals(resources: Resources) -> None:
    """Keep the gauge of what waits for a person; decisions are made elsewhere."""
    shown: set[tuple[str, str]] = set()
    while resources.devices is not None:
        try:
            groups = await resources.devices.count_held(RemovedFilter())
        except ApiError:
            groups = None  # whoever needs the database reports that it is away
        if groups is not None:
            counts = Counter(dict.fromkeys(shown, 0))
            for group in groups:
                name = (group.provider, group.integration or group.provider)
                counts[name] += group.count
            for name, count in counts.items():
                resources.metrics.push_removals_waiting.set(count, *name)
            shown = set(counts)
        await asyncio.sleep(COUNT_HELD_INTERVAL_S)


async def _clean_for_ever(resources: Resources) -> None:
    """Delete for good what nobody can need any more, in small steps."""
    while True:
        try:
            await _clean(resources)
        except ApiError as error:
            reason = error.reason if isinstance(error, InternalError) else ""
            _log.warning("clean-up put off", error=error.message, reason=reason)
        await asyncio.sleep(CLEAN_INTERVAL_S)


async def _clean(resources: Resources) -> None:
    await purge_overdue(resources, CLEAN_LIMIT)
    if resources.analytics is not None:
        await purge_analytics(
            resources.analytics.store,
            now_ms=resources.clock.now_ms(),
            retention_s=resources.config.analytics.retention,
        )
    if resources.results is not None:
        keep_ms = int(resources.config.push_notifications.results.keep * 1000)
        before_ms = resources.clock.now_ms() - keep_ms
        while (
            await resources.results.forget(before_ms=before_ms, limit=CLEAN_LIMIT)
            == CLEAN_LIMIT
        ):
            pass
    if resources.uids is not None:
        while await resources.uids.purge_expired(limit=CLEAN_LIMIT) == CLEAN_LIMIT:
            pass
    if resources.devices is not None:
        await remove_inactive(resources, resources.devices)
        before_ms = resources.clock.now_ms() - REMOVED_KEPT_S * 1000
        while (
            await resources.devices.purge_removed(
                older_than_ms=before_ms, limit=CLEAN_LIMIT
            )
            == CLEAN_LIMIT
        ):
            pass


async def remove_inactive(resources: Resources, devices: DeviceStore) -> None:
    """Remove devices not heard of for the configured time, in small steps."""
    interval_s = resources.config.push_notifications.max_inactive_device_interval
    if not interval_s:
        return
    before_ms = resources.clock.now_ms() - int(interval_s * 1000)
    total = 0
    while gone := await devices.remove_inactive(
        older_than_ms=before_ms, limit=CLEAN_LIMIT
    ):
        for provider, count in gone.items():
            resources.metrics.push_devices_removed.add(count, provider, "inactive")
            total += count
    if total:
        _log.info("inactive devices removed", count=total)
