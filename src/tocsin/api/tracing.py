"""API room: the span of a call, in the words of OpenTelemetry's conventions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from tocsin.api.call import Call, CallTrace, Command
from tocsin.api.methods.table import ADMIN_COMMANDS, ADMIN_SERVICE, SERVICE
from tocsin.core.errors import ApiError, InternalError
from tocsin.core.traces import trace_id_of
from tocsin.telemetry.spans import Span, SpanKind, Tracer, Value

TRACEPARENT_KEY = "traceparent"


class CallTracer:
    """Makes the spans of one door; `prefix` is the path of its routes."""

    def __init__(self, tracer: Tracer, *, protocol: str, prefix: str = "") -> None:
        self._tracer = tracer
        self._is_grpc = protocol == "grpc"
        self._prefix = prefix.rstrip("/")

    @contextmanager
    def trace(self, command: Command, call: Call) -> Iterator[CallTrace]:
        """Trace a call; the `call` of the result is the one to go on with."""
        name, attributes = self._describe(command)
        attributes["tocsin.request_id"] = call.correlation_id
        if call.caller.name:
            attributes["tocsin.caller"] = call.caller.name
        with (
            self._tracer.span(
                SpanKind.SERVER,
                name,
                attributes,
                parent=call.traceparent,
                is_root=True,
            ) as span,
            structlog.contextvars.bound_contextvars(
                trace_id=trace_id_of(span.traceparent)
            ),
        ):
            yield _Trace(span, replace(call, traceparent=span.traceparent))

    def _describe(self, command: Command) -> tuple[str, dict[str, Value]]:
        if not self._is_grpc:
            route = f"{self._prefix}/{command.name}"
            return f"POST {route}", {
                "http.request.method": "POST",
                "http.route": route,
            }
        is_admin = ADMIN_COMMANDS.get(command.name) is command
        service = (ADMIN_SERVICE if is_admin else SERVICE).full_name
        return f"{service}/{command.rpc}", {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": command.rpc,
        }


class _Trace:
    """See `CallTrace`."""

    def __init__(self, span: Span, call: Call) -> None:
        self._span = span
        self.call = call

    def end(self, error: ApiError | None) -> None:
        """See `CallTrace`."""
        if error is None:
            return
        self._span.set({"tocsin.error_code": error.code})
        # By the conventions a caller's own fault is none of the server's.
        if isinstance(error, InternalError):
            self._span.fail(type(error).__name__)
