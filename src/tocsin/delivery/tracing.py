"""Delivery room: the spans of jobs, and of batches at their provider.

They hold ids and counts; who is sent to, and what, is in none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from typing import Any

import structlog

from tocsin.core.outcome import Outcome
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Job, SendJob
from tocsin.core.traces import trace_id_of
from tocsin.delivery.reports import count_recipients
from tocsin.telemetry.spans import SpanKind, Tracer, Value

CHILDREN = 64
"""Batches of raw recipients that are part of the trace of their send."""


async def traced(
    tracer: Tracer, delivery: Delivery, work: Coroutine[Any, Any, None]
) -> None:
    """Work on a delivery, in a span that continues or links to that of its send."""
    job = delivery.job
    attributes: dict[str, Value] = {
        "messaging.operation.type": "process",
        "messaging.destination.name": job.queue,
        "messaging.message.id": job.id,
        "tocsin.push_id": job.push_id,
        "tocsin.provider": job.provider,
        "tocsin.integration": job.credential,
        "tocsin.recipients": count_recipients(job),
        "tocsin.attempt": job.attempt,
        "tocsin.handed_out": delivery.count,
        "tocsin.request_id": job.correlation_id,
    }
    is_child = is_part_of_its_send(job)
    with (
        tracer.span(
            SpanKind.CONSUMER,
            f"process {job.queue}",
            attributes,
            parent=job.traceparent if is_child else "",
            link="" if is_child else job.traceparent,
            is_root=True,
        ) as span,
        # The trace of the send, also where the span is in one of its own: who looks
        # for a send finds all of its lines.
        structlog.contextvars.bound_contextvars(
            trace_id=trace_id_of(job.traceparent or span.traceparent)
        ),
    ):
        await work


def is_part_of_its_send(job: Job) -> bool:
    """Whether its span belongs into the trace of the send, or only points to it.

    What a broadcast goes on with after its first page would make one trace of
    thousands of spans, which nobody can read.
    """
    if not isinstance(job, SendJob):
        return job.work.page == 0
    walk, is_of_page, page = job.unit.partition(":")
    if is_of_page:
        return page == "0"
    return not walk.isdigit() or int(walk) < CHILDREN


async def send_traced(
    tracer: Tracer, provider: PushProvider, batch: Batch, report: Report, pace: Pace
) -> None:
    """Hand a batch to its provider, in a span that counts the outcomes."""
    counts: Counter[str] = Counter()

    def count(index: int, outcome: Outcome) -> None:
        counts[outcome.verdict.value] += 1
        report(index, outcome)

    attributes: dict[str, Value] = {
        "tocsin.provider": provider.name,
        "tocsin.integration": provider.integration,
        "tocsin.recipients": len(batch.pending),
    }
    name = f"push {provider.name}"
    with tracer.span(SpanKind.CLIENT, name, attributes) as span:
        try:
            await provider.send(batch, count, pace)
        finally:
            span.set({f"tocsin.outcomes.{word}": n for word, n in counts.items()})
