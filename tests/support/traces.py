"""A tracer whose spans stay in memory, and a collector that is sent them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler

from tocsin.telemetry.opentelemetry import OpenTelemetryTracer

__all__ = [
    "ALWAYS_OFF",
    "Collector",
    "ParentBased",
    "ReadableSpan",
    "RecordedTracer",
    "SpanExportResult",
    "SpanExporter",
    "id_of",
    "links_of",
    "parent_of",
    "running_collector",
    "told",
    "trace_of",
]


class RecordedTracer(OpenTelemetryTracer):
    """The real tracer; `take` gives the spans that ended."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        super().__init__(provider)

    def take(self) -> list[ReadableSpan]:
        """What ended since the last call, in the order of the ends."""
        spans = list(self._kept.get_finished_spans())
        self._kept.clear()
        return spans

    def take_one(self) -> ReadableSpan:
        """The only span that ended since the last call."""
        (span,) = self.take()
        return span


def trace_of(span: ReadableSpan) -> str:
    """The trace that it is part of."""
    return f"{_context(span).trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    """Its own id."""
    return f"{_context(span).span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    """The id of the span above it; "" for a root."""
    return f"{span.parent.span_id:016x}" if span.parent else ""


def links_of(span: ReadableSpan) -> list[str]:
    """The traces that it points to."""
    return [f"{link.context.trace_id:032x}" for link in span.links]


def told(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})


def _context(span: ReadableSpan) -> Any:
    assert span.context is not None
    return span.context


class Collector:
    """An OTLP collector over HTTP; `spans` are those that came, as messages."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.bodies: list[bytes] = []

    def take_in(self, body: bytes) -> None:
        """Read what an exporter sent."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            collector.take_in(self.rfile.read(length))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
