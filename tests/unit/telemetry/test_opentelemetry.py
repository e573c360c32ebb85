from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import structlog
from tests.support.traces import (
    ALWAYS_OFF,
    ParentBased,
    ReadableSpan,
    RecordedTracer,
    SpanExporter,
    SpanExportResult,
    id_of,
    links_of,
    parent_of,
    told,
    trace_of,
)

from tocsin.core.traces import is_sampled, span_id_of, trace_id_of
from tocsin.telemetry.opentelemetry import CalmExporter, ExporterError, open_tracer
from tocsin.telemetry.spans import SpanKind

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = f"{PARENT[:-1]}0"
KIND = SpanKind.SERVER


def test_a_span_continues_what_came_from_elsewhere() -> None:
    """Its parent is the caller's span, and its own context can travel on."""
    tracer = RecordedTracer()
    with tracer.span(KIND, "a", {"n": 1}, parent=PARENT, is_root=True) as span:
        span.set({"m": True})
        assert tracer.current() == span.traceparent
    done = tracer.take_one()
    assert (done.name, told(done)) == ("a", {"n": 1, "m": True})
    assert trace_of(done) == trace_id_of(PARENT) == trace_id_of(span.traceparent)
    assert parent_of(done) == span_id_of(PARENT)
    assert id_of(done) == span_id_of(span.traceparent)
    assert tracer.current() == ""


def test_spans_inside_are_children_unless_they_are_roots() -> None:
    """Whatever the task that runs them was doing."""
    tracer = RecordedTracer()
    with tracer.span(KIND, "outer", {}) as outer:
        with tracer.span(KIND, "inner", {}):
            pass
        with tracer.span(KIND, "root", {}, is_root=True):
            pass
    inner, root, _ = tracer.take()
    assert parent_of(inner) == span_id_of(outer.traceparent)
    assert parent_of(root) == ""
    assert trace_of(root) != trace_of(inner)


def test_a_linked_span_begins_a_trace_of_its_own() -> None:
    """And points to where it came from."""
    tracer = RecordedTracer()
    with tracer.span(KIND, "a", {}, link=PARENT, is_root=True):
        pass
    done = tracer.take_one()
    assert (parent_of(done), links_of(done)) == ("", [trace_id_of(PARENT)])
    assert trace_of(done) != trace_id_of(PARENT)


def test_what_was_not_sampled_is_not_recorded() -> None:
    """Neither as a child nor as a link; its context travels on all the same."""
    tracer = RecordedTracer()
    with tracer.span(KIND, "child", {}, parent=UNSAMPLED) as child:
        assert tracer.current() == ""
        with tracer.span(KIND, "grandchild", {}):
            pass
    with tracer.span(KIND, "linked", {}, link=UNSAMPLED) as linked:
        with tracer.span(KIND, "below", {}):
            pass
        linked.set({"n": 1})
    assert tracer.take() == []
    assert trace_id_of(child.traceparent) == trace_id_of(PARENT)
    assert not is_sampled(child.traceparent)


def test_a_sampler_is_asked_for_roots() -> None:
    """A caller's own decision goes before it."""
    tracer = RecordedTracer(ParentBased(ALWAYS_OFF))
    with tracer.span(KIND, "root", {}, is_root=True) as span:
        pass
    with tracer.span(KIND, "child", {}, parent=PARENT):
        pass
    assert tracer.take_one().name == "child"
    assert trace_id_of(span.traceparent)


def test_an_exception_fails_its_span_without_its_text() -> None:
    """The text of an error may hold anything."""
    tracer = RecordedTracer()
    with pytest.raises(ValueError, match="secret"), tracer.span(KIND, "a", {}):
        raise ValueError("a secret")
    done = tracer.take_one()
    assert told(done) == {"error.type": "ValueError"}
    assert (done.status.status_code.name, done.status.description) == ("ERROR", None)
    assert not done.events


def test_variables_decide_where_spans_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the standard; what there is not is named."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ExporterError, match="zipkin"):
        open_tracer()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(ExporterError, match="http/json"):
        open_tracer()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    open_tracer().close(1)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    for protocol in ("grpc", "http/protobuf"):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        open_tracer().close(1)


def test_the_service_has_a_name_that_variables_replace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`tocsin` unless somebody says otherwise."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")

    def name() -> object:
        tracer = open_tracer()
        found = tracer.resource["service.name"]
        tracer.close(1)
        return found

    assert name() == "tocsin"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bells")
    assert name() == "bells"


class FlakyExporter(SpanExporter):
    """Fails as often as it is told to, with the library's own words."""

    def __init__(self, failures: int) -> None:
        self._left = failures

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self._left:
            return SpanExportResult.SUCCESS
        self._left -= 1
        log = logging.getLogger("opentelemetry.exporter")
        log.warning("Connection refused")
        log.error("Failed to export")
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        return None

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return timeout_millis == 7


def test_a_collector_that_is_away_is_told_once() -> None:
    """And once that it is back; what the library said is the reason."""
    exporter = CalmExporter(FlakyExporter(3))
    with structlog.testing.capture_logs() as lines:
        results = [exporter.export(()) for _ in range(5)]
    assert [result.name for result in results] == ["FAILURE"] * 3 + ["SUCCESS"] * 2
    first, second = lines
    assert first["event"].startswith("traces cannot be exported")
    assert (first["log_level"], first["reason"]) == ("warning", "Connection refused")
    assert second["event"] == "traces are exported again"
    assert exporter.force_flush(7)
    exporter.shutdown()
