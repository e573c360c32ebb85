"""The section of tracing. Part of `config`."""

from __future__ import annotations

from tocsin.config.fields import Bool, Section


class OpenTelemetry(Section):
    """Tracing, for which the extra `otel` is installed.

    Where spans go, and which are sampled, is set by the standard variables `OTEL_…`.
    """

    enabled: Bool = False
    """trace by OpenTelemetry, as the variables `OTEL_…` say"""
    api: Bool = False
    """a span for each call of the server API, and for what the queue accepts"""
    consuming: Bool = False
    """a span for each job of a worker, and for each batch at its provider"""
