"""Opens tracing, and traces what the queue accepts. Composition room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import structlog

from tocsin.app.faults import CannotOpen
from tocsin.app.resources import Resources
from tocsin.core.accounts import Account
from tocsin.core.ports.queue import JobProducer
from tocsin.core.push import Job, Payload
from tocsin.telemetry.open_metrics import CONTENT_TYPE
from tocsin.telemetry.spans import SpanKind, Tracer, Value

_KEY = "opentelemetry.enabled"
_CLOSE_S = 2.0
"""How long the end of the process waits for a collector that does not answer."""

_log = structlog.get_logger(__name__)


async def open_tracing(resources: Resources, stack: AsyncExitStack) -> None:
    """Give the resources a tracer, if tracing is on; `stack` closes it."""
    section = resources.config.opentelemetry
    if not section.enabled:
        return
    if not (section.api or section.consuming):
        _log.warning(
            "opentelemetry.enabled alone traces nothing: set opentelemetry.api for"
            " calls, opentelemetry.consuming for the work of workers"
        )
        return
    try:
        from tocsin.telemetry.opentelemetry import ExporterError, open_tracer
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: pip install 'tocsin[otel]'"
        raise CannotOpen(_KEY, "on", reason, is_configuration=True) from None
    try:
        tracer = open_tracer()
    except ExporterError as error:
        raise CannotOpen(_KEY, "on", str(error), is_configuration=True) from None
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: pip install 'tocsin[otel]'"
        raise CannotOpen(_KEY, "on", reason, is_configuration=True) from None
    stack.push_async_callback(asyncio.to_thread, tracer.close, _CLOSE_S)
    resources.tracer = resources.metrics.tracer = tracer
    _log.info("tracing is on", api=section.api, consuming=section.consuming)


def api_tracer(resources: Resources) -> Tracer | None:
    """The tracer of the doors, `None` where their calls are not traced."""
    return resources.tracer if resources.config.opentelemetry.api else None


def work_tracer(resources: Resources) -> Tracer | None:
    """The tracer of a worker, `None` where its jobs are not traced."""
    return resources.tracer if resources.config.opentelemetry.consuming else None


def exemplars(resources: Resources) -> Callable[[], tuple[bytes, str]] | None:
    """Renders metrics that point to traces, where there are any."""
    if resources.tracer is None:
        return None
    metrics = resources.metrics
    return lambda: (metrics.render_open_metrics(), CONTENT_TYPE)


def traced_queue(resources: Resources) -> JobProducer | None:
    """What accepts the work of sends, traced if calls are."""
    queue, tracer = resources.queue, api_tracer(resources)
    if queue is None or tracer is None:
        return queue
    return TracedProducer(queue, tracer, resources.config.queue_kind or "")


class TracedProducer:
    """A `JobProducer` with a span around each acceptance; it changes nothing else."""

    def __init__(self, inner: JobProducer, tracer: Tracer, system: str) -> None:
        self._inner = inner
        self._tracer = tracer
        self._system = system

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
        account: Account | None = None,
    ) -> bool:
        """See the port."""
        queue = jobs[0].queue if jobs else ""
        attributes: dict[str, Value] = {
            "messaging.system": self._system,
            "messaging.operation.type": "send",
            "messaging.destination.name": queue,
            "messaging.batch.message_count": len(jobs),
            "tocsin.push_id": payload.push_id,
        }
        with self._tracer.span(SpanKind.PRODUCER, f"send {queue}", attributes) as span:
            stored = await self._inner.enqueue(
                payload,
                jobs,
                once_ttl_s=once_ttl_s,
                due_ms=due_ms,
                account=account,
            )
            span.set({"tocsin.stored": stored})
            return stored

    async def cancel(self, uid: str) -> list[Job]:
        """See the port."""
        return await self._inner.cancel(uid)
