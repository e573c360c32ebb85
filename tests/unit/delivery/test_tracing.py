from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from tests.support.jobs import ScriptedProvider
from tests.support.traces import (
    RecordedTracer,
    links_of,
    parent_of,
    told,
    trace_of,
)

from tocsin.core.device import DeviceFilter
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.providers import Batch
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import (
    Body,
    Expand,
    ExpandJob,
    Job,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    TargetKind,
)
from tocsin.core.traces import span_id_of, trace_id_of
from tocsin.delivery.tracing import CHILDREN, is_part_of_its_send, send_traced, traced

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TOKENS = ("secret-token-1", "secret-token-2", "secret-token-3")


def batch_job(unit: str = "0", traceparent: str = PARENT) -> SendJob:
    return SendJob(
        id="j",
        push_id="p",
        provider="fcm",
        recipient_type=RecipientType.TOKENS,
        accepted_at_ms=1,
        correlation_id="r",
        unit=unit,
        traceparent=traceparent,
        work=Send(TargetKind.TOKEN, Recipients(TOKENS)),
    )


def walk_job(page: int) -> ExpandJob:
    return ExpandJob(
        id="w",
        push_id="p",
        provider="fcm",
        recipient_type=RecipientType.FILTER,
        accepted_at_ms=1,
        unit="0",
        traceparent=PARENT,
        work=Expand(DeviceFilter(users=("secret-user",)), page=page),
    )


def delivery_of(job: Job) -> Delivery:
    return Delivery(job=job, receipt="x", count=1, done=b"")


async def work_on(job: Job) -> tuple[Any, Mapping[str, Any]]:
    """The span of a delivery, and what a log line inside it is bound to."""
    tracer = RecordedTracer()
    bound: dict[str, Any] = {}

    async def work() -> None:
        bound.update(structlog.contextvars.get_contextvars())

    await traced(tracer, delivery_of(job), work())
    return tracer.take_one(), bound


async def test_a_batch_continues_the_trace_of_its_send() -> None:
    """Its span holds ids and counts, and nothing of who is sent to."""
    span, bound = await work_on(batch_job())
    assert trace_of(span) == trace_id_of(PARENT) == bound["trace_id"]
    assert parent_of(span) == span_id_of(PARENT)
    assert span.name == "process send:fcm"
    assert told(span) == {
        "messaging.operation.type": "process",
        "messaging.destination.name": "send:fcm",
        "messaging.message.id": "j",
        "tocsin.push_id": "p",
        "tocsin.provider": "fcm",
        "tocsin.integration": "fcm",
        "tocsin.recipients": 3,
        "tocsin.attempt": 0,
        "tocsin.handed_out": 1,
        "tocsin.request_id": "r",
    }
    assert "secret" not in span.to_json()


async def test_the_rest_of_a_broadcast_points_to_its_send() -> None:
    """In traces of their own; log lines carry the trace of the send all the same."""
    for job in (walk_job(1), batch_job("0:1"), batch_job(str(CHILDREN))):
        span, bound = await work_on(job)
        assert (parent_of(span), links_of(span)) == ("", [trace_id_of(PARENT)])
        assert trace_of(span) != trace_id_of(PARENT) == bound["trace_id"]
        assert "secret" not in span.to_json()


async def test_what_nobody_traced_begins_a_trace() -> None:
    """A job that an older release accepted."""
    span, bound = await work_on(batch_job(traceparent=""))
    assert (parent_of(span), links_of(span)) == ("", [])
    assert bound["trace_id"] == trace_of(span)


async def test_what_was_not_sampled_is_silent() -> None:
    """The caller's decision holds for all that follows from the call."""
    tracer = RecordedTracer()
    for unit in ("0", "0:5"):

        async def work() -> None:
            bound = structlog.contextvars.get_contextvars()
            assert bound["trace_id"] == trace_id_of(PARENT)

        job = batch_job(unit, f"{PARENT[:-1]}0")
        await traced(tracer, delivery_of(job), work())
    assert tracer.take() == []


@pytest.mark.parametrize(
    ("job", "is_part"),
    [
        (walk_job(0), True),
        (walk_job(1), False),
        (batch_job("0:0"), True),
        (batch_job("0:12"), False),
        (batch_job(""), True),
        (batch_job(str(CHILDREN - 1)), True),
        (batch_job(str(CHILDREN)), False),
    ],
)
def test_which_jobs_are_part_of_their_send(job: Job, is_part: bool) -> None:
    """The first page of a walk, and the first batches of raw recipients."""
    assert is_part_of_its_send(job) is is_part


class AlwaysReady:
    """A pace that holds nothing back."""

    def ready(self) -> bool:
        return True

    async def wait(self) -> bool:
        return True


async def test_a_batch_at_its_provider_counts_outcomes() -> None:
    """By verdict, as they are reported; the report itself is passed on."""
    outcomes = {
        TOKENS[0]: DELIVERED,
        TOKENS[1]: DELIVERED,
        TOKENS[2]: Outcome(Verdict.RETRY, "timeout", "secret words"),
    }
    provider = ScriptedProvider(lambda target: outcomes[target])
    batch = Batch(
        body=Body(b'{"secret":1}', {}),
        kind=TargetKind.TOKEN,
        targets=TOKENS,
        pending=[0, 1, 2],
        deadline_ms=0,
        validate_only=False,
    )
    tracer, reported = RecordedTracer(), []

    def report(index: int, outcome: Outcome) -> None:
        reported.append((index, outcome))

    await send_traced(tracer, provider, batch, report, AlwaysReady())
    assert [index for index, _ in reported] == [0, 1, 2]
    span = tracer.take_one()
    assert (span.name, span.kind.name) == ("push fcm", "CLIENT")
    assert told(span) == {
        "tocsin.provider": "fcm",
        "tocsin.integration": provider.integration,
        "tocsin.recipients": 3,
        "tocsin.outcomes.delivered": 2,
        "tocsin.outcomes.retry": 1,
    }
    assert "secret" not in span.to_json()
