"""Spans by OpenTelemetry, which is an extra: `pip install tocsin[otel]`.

Import it only where tracing is on. Everything else is set by the standard variables
`OTEL_…`: where spans go, which are sampled, what the service is called.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
)

from tocsin.core.traces import is_sampled, span_id_of, trace_id_of, write_traceparent
from tocsin.core.version import VERSION
from tocsin.telemetry.logs import listen_to_library
from tocsin.telemetry.spans import Span, SpanKind, Value

_log = structlog.get_logger(__name__)

_KINDS: Mapping[SpanKind, trace.SpanKind] = {
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.PRODUCER: trace.SpanKind.PRODUCER,
    SpanKind.CONSUMER: trace.SpanKind.CONSUMER,
}


class ExporterError(ValueError):
    """A variable asks for an exporter that there is not; the text names it."""


class OpenTelemetrySpan:
    """See `Span`."""

    __slots__ = ("_inner",)

    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    @property
    def traceparent(self) -> str:
        """See `Span`."""
        return _write(self._inner.get_span_context())

    def set(self, attributes: Mapping[str, Value]) -> None:
        """See `Span`."""
        self._inner.set_attributes(dict(attributes))

    def fail(self, kind: str) -> None:
        """See `Span`."""
        self._inner.set_attribute("error.type", kind)
        self._inner.set_status(Status(StatusCode.ERROR))


class OpenTelemetryTracer:
    """See `Tracer`; `provider` decides what becomes of the spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tocsin", VERSION)

    @contextmanager
    def span(
        self,
        kind: SpanKind,
        name: str,
        attributes: Mapping[str, Value],
        *,
        parent: str = "",
        link: str = "",
        is_root: bool = False,
    ) -> Iterator[Span]:
        """See `Tracer`."""
        context: Context | None = None
        links: list[Link] = []
        if parent:
            context = trace.set_span_in_context(_remote(parent), Context())
        elif link or is_root:
            context = Context()
        if link:
            if not is_sampled(link):
                with trace.use_span(_remote(link)) as silent:
                    yield OpenTelemetrySpan(silent)
                return
            links.append(Link(_remote(link).get_span_context()))
        # Texts of exceptions may hold anything: neither they nor tracebacks go out.
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=_KINDS[kind],
            attributes=dict(attributes),
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as inner:
            span = OpenTelemetrySpan(inner)
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise

    @property
    def resource(self) -> Mapping[str, object]:
        """What spans say about this process."""
        return dict(self._provider.resource.attributes)

    def current(self) -> str:
        """See `Tracer`."""
        inner = trace.get_current_span()
        if inner is INVALID_SPAN or not inner.is_recording():
            return ""
        return _write(inner.get_span_context())

    def close(self, timeout_s: float) -> None:
        """Export what is left, for so long at most; blocks."""
        # A daemon: a collector that is away must not keep the process.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(timeout_s)


class CalmExporter(SpanExporter):
    """An exporter whose faults are told once, and their end once.

    The library writes several lines for each batch that it cannot export; what they
    say stands as the reason in ours.
    """

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._failing = False
        self._heard = listen_to_library("opentelemetry")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See the library; called from its own thread."""
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            _log.warning(
                "traces cannot be exported and are dropped; the work goes on. Is the"
                " collector there, and where OTEL_EXPORTER_OTLP_ENDPOINT says?",
                reason=self._heard.text,
            )
        elif self._failing and not failed:
            _log.info("traces are exported again")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """See the library."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See the library."""
        return bool(self._inner.force_flush(timeout_millis))


def _write(context: SpanContext) -> str:
    if not context.is_valid:
        return ""
    return write_traceparent(context.trace_id, context.span_id, context.trace_flags)


def _remote(traceparent: str) -> NonRecordingSpan:
    context = SpanContext(
        int(trace_id_of(traceparent), 16),
        int(span_id_of(traceparent), 16),
        is_remote=True,
        trace_flags=TraceFlags(int(is_sampled(traceparent))),
    )
    return NonRecordingSpan(context)


def open_tracer() -> OpenTelemetryTracer:
    """A tracer as the variables want it; raises `ExporterError`."""
    ours = {"service.name": "tocsin", "service.version": VERSION}
    provider = TracerProvider(
        # What the variables say wins.
        resource=Resource.create(ours).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    exporter = _open_exporter()
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(CalmExporter(exporter)))
    return OpenTelemetryTracer(provider)


def _open_exporter() -> SpanExporter | None:
    asked = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if asked == "none":
        return None
    if asked == "console":
        return ConsoleSpanExporter()
    if asked != "otlp":
        raise ExporterError(f"OTEL_TRACES_EXPORTER={asked[:40]!r}: otlp, console, none")
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "").strip()
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip()
        or "http/protobuf"
    )
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc

        return _made(over_grpc)
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http

        return _made(over_http)
    raise ExporterError(
        f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol[:40]!r}: grpc or http/protobuf"
    )


def _made(module: Any) -> SpanExporter:
    exporter: SpanExporter = module.OTLPSpanExporter()
    return exporter
