from __future__ import annotations

import sys
from contextlib import AsyncExitStack

import pytest
import structlog
from tests.support.jobs import make_payload, make_send_job
from tests.support.memory_queue import MemoryJobQueue
from tests.support.traces import RecordedTracer, told

from tocsin.app.clock import SharedClock
from tocsin.app.faults import CannotOpen
from tocsin.app.resources import Resources
from tocsin.app.tracing import (
    TracedProducer,
    api_tracer,
    exemplars,
    open_tracing,
    traced_queue,
    work_tracer,
)
from tocsin.config import Config
from tocsin.config.tracing import OpenTelemetry
from tocsin.telemetry.metrics import Metrics

ON = OpenTelemetry(enabled=True, api=True, consuming=True)


def resources(section: OpenTelemetry) -> Resources:
    config = Config(opentelemetry=section)
    return Resources(config, Metrics(), SharedClock(), queue=MemoryJobQueue())


async def test_off_there_is_no_tracer() -> None:
    """And nothing of it is imported or wrapped."""
    found = resources(OpenTelemetry(api=True, consuming=True))
    async with AsyncExitStack() as stack:
        await open_tracing(found, stack)
        assert found.tracer is found.metrics.tracer is None
        assert api_tracer(found) is work_tracer(found) is None
        assert exemplars(found) is None
        assert traced_queue(found) is found.queue


async def test_enabled_alone_traces_nothing_and_says_so() -> None:
    """As the published server's key; the line names what is missing."""
    found = resources(OpenTelemetry(enabled=True))
    with structlog.testing.capture_logs() as lines:
        async with AsyncExitStack() as stack:
            await open_tracing(found, stack)
    assert found.tracer is None
    assert "set opentelemetry.api" in lines[0]["event"]


@pytest.mark.parametrize("only", ["api", "consuming"])
async def test_each_key_traces_its_part(
    only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls, or the work of workers; metrics point to the traces of either."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    found = resources(OpenTelemetry.model_validate({"enabled": True, only: True}))
    async with AsyncExitStack() as stack:
        await open_tracing(found, stack)
        assert (api_tracer(found) is not None) is (only == "api")
        assert (work_tracer(found) is not None) is (only == "consuming")
        assert isinstance(traced_queue(found), TracedProducer) is (only == "api")
        render = exemplars(found)
        assert render is not None
        text, kind = render()
        assert text.endswith(b"# EOF\n")
        assert kind.startswith("application/openmetrics-text")


async def test_without_the_extra_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line that names the key."""
    monkeypatch.setitem(sys.modules, "tocsin.telemetry.opentelemetry", None)
    async with AsyncExitStack() as stack:
        with pytest.raises(
            CannotOpen, match=r"opentelemetry.enabled: .*tocsin\[otel\]"
        ):
            await open_tracing(resources(ON), stack)


async def test_an_exporter_that_there_is_not_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line names the variable."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    async with AsyncExitStack() as stack:
        with pytest.raises(CannotOpen, match="OTEL_TRACES_EXPORTER"):
            await open_tracing(resources(ON), stack)


async def test_what_the_queue_accepts_has_a_span() -> None:
    """With counts and ids; the queue is asked as without it."""
    tracer, queue = RecordedTracer(), MemoryJobQueue()
    producer = TracedProducer(queue, tracer, "redis")
    job = make_send_job()
    assert await producer.enqueue(make_payload(), [job], once_ttl_s=60)
    assert told(tracer.take_one()) == {
        "messaging.system": "redis",
        "messaging.operation.type": "send",
        "messaging.destination.name": job.queue,
        "messaging.batch.message_count": 1,
        "tocsin.push_id": "p1",
        "tocsin.stored": True,
    }
    assert not await producer.enqueue(make_payload(), [job], once_ttl_s=60)
    assert told(tracer.take_one())["tocsin.stored"] is False
    assert await producer.cancel("nobody") == []
    assert len(queue.accepted) == 1
