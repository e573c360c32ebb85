from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.open_metrics import is_asked_for

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class OneTrace:
    """A tracer that is always in the same span, or in none."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent

    def span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def current(self) -> str:
        return self._traceparent


def observed(traceparent: str = TRACEPARENT) -> Metrics:
    metrics = Metrics()
    metrics.tracer = OneTrace(traceparent)
    metrics.observe_job(0.2, "fcm", "tokens")
    metrics.observe_command(1.0, "grpc", "send_push_notification")
    metrics.observe_command(100.0, "grpc", "send_push_notification")
    metrics.api_command_errors.add(2, "grpc", "publish", "107")
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], Any]:
    text = metrics.render_open_metrics().decode()
    return {
        (sample.name, sample.labels.get("le", "")): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_duration_points_to_the_trace_that_took_so_long() -> None:
    """The bucket of each value has the last trace that fell into it."""
    found = samples(observed())
    name = "centrifugo_push_job_duration_seconds_histogram_bucket"
    exemplar = found[name, "0.25"].exemplar
    assert exemplar.labels == {
        "trace_id": TRACEPARENT[3:35],
        "span_id": TRACEPARENT[36:52],
    }
    assert (exemplar.value, float(exemplar.timestamp) > 1e9) == (0.2, True)
    assert found[name, "0.1"].exemplar is None
    name = "centrifugo_api_command_duration_seconds_histogram_bucket"
    assert found[name, "1.0"].exemplar.value == 1.0
    assert found[name, "+Inf"].exemplar.value == 100.0


def test_without_a_recorded_trace_there_is_no_exemplar() -> None:
    """Calls that were not sampled have nothing to point to."""
    found = samples(observed(""))
    assert not any(sample.exemplar for sample in found.values())


def test_names_and_values_are_those_of_the_text_format() -> None:
    """Whoever switches the format loses no series of a dashboard."""
    metrics = observed()
    before = metrics.render()
    plain = {
        line.rpartition(" ")[0].split("{")[0]
        for line in before.decode().splitlines()
        if not line.startswith("#")
    }
    assert {name for name, _ in samples(metrics)} == plain
    # Exemplars leave no trace in the text format.
    assert b"trace_id" not in before
    metrics.tracer = None
    plain_lines = [x for x in before.splitlines() if b"process_" not in x]
    assert plain_lines == [
        x for x in metrics.render().splitlines() if b"process_" not in x
    ]


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; q=0.9, text/plain; q=0.9", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.3", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        *(("", False), ("*/*", False), ("text/plain;version=0.0.4", False)),
    ],
)
def test_who_asks_for_open_metrics(accept: str, asked: bool) -> None:
    """By name, and not less than for text."""
    assert is_asked_for(accept) is asked
