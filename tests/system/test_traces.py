"""One send is one trace, from its call through the queue to the push service."""

from __future__ import annotations

import json
import urllib.request

import psycopg
import pytest
from tests.support.deployment import Deployment
from tests.support.tocsin_processes import Processes, wait_until
from tests.support.traces import Collector, running_collector

from tocsin.simulator.server import Simulator

pytestmark = pytest.mark.system

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
AWAY = (
    "traces cannot be exported and are dropped; the work goes on. Is the collector"
    " there, and where OTEL_EXPORTER_OTLP_ENDPOINT says?"
)
TOKEN = "secret-token-of-a-phone"
ON = {"opentelemetry": {"enabled": True, "api": True, "consuming": True}}
QUEUE = "send:fcm:transactional"  # of a send to one phone
STEPS = (
    "POST /api/send_push_notification",
    f"send {QUEUE}",
    f"process {QUEUE}",
    "push fcm",
)


def _post(at: Deployment) -> None:
    request = {
        "uid": "u-7",
        "recipient": {"fcm_tokens": [TOKEN]},
        "notification": {"fcm": {"message": {"notification": {"title": "hush"}}}},
    }
    call = urllib.request.Request(
        f"http://127.0.0.1:{at.http_port}/api/send_push_notification",
        data=json.dumps(request).encode(),
        headers={"X-API-Key": "k", "traceparent": f"00-{TRACE}-{CALLER}-01"},
    )
    with urllib.request.urlopen(call, timeout=30) as answer:
        assert json.load(answer) == {"result": {"uid": "u-7"}}


def _names(collector: Collector) -> set[str]:
    return {span.name for span in collector.spans}


def test_one_send_is_one_trace_through_server_and_worker(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Spans of two processes, log lines and a metric, all under the caller's trace."""
    parts = {"database": {"postgresql": {"dsn": postgres_dsn}}, **ON}
    at = Deployment(processes, simulator, parts, {"type": "database"})
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        server, worker = at.serve(), at.worker()
        _post(at)
        wait_until(
            lambda: _names(collector) >= set(STEPS),
            deadline_s=60,
            what="all four spans",
        )
        accept = {"Accept": "application/openmetrics-text"}
        url = f"http://127.0.0.1:{at.http_port}/metrics"
        asked = urllib.request.Request(url, headers=accept)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            metrics = answer.read().decode()
    spans = {span.name: span for span in collector.spans}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    call, accepted, job, push = (spans[name] for name in STEPS)
    assert call.parent_span_id.hex() == CALLER
    assert accepted.parent_span_id == job.parent_span_id == call.span_id
    assert push.parent_span_id == job.span_id
    counts = {each.key: each.value for each in push.attributes}
    assert counts["tocsin.outcomes.delivered"].int_value == 1
    assert collector.services == {"tocsin"}
    assert not any(TOKEN.encode() in body for body in collector.bodies)
    for process, event in ((server, "send accepted"), (worker, "batch settled")):
        (line,) = [each for each in process.events() if each["event"] == event]
        assert line["trace_id"] == TRACE
    assert f'trace_id="{TRACE}"' in metrics
    with psycopg.connect(postgres_dsn) as connection:
        rows = connection.execute("SELECT uid, about FROM push_sends").fetchall()
    ((uid, about),) = rows
    assert uid == "u-7"
    assert TRACE in about


def test_a_collector_that_is_away_holds_nothing_up(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sends go out, and the processes end in time."""
    parts = {"database": {"postgresql": {"dsn": postgres_dsn}}, **ON}
    at = Deployment(processes, simulator, parts, {"type": "database"})
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    server, worker = at.serve(), at.worker()
    _post(at)
    worker.wait_event("batch settled")
    for process in (server, worker):
        process.wait_event(AWAY)
    assert server.terminate() == worker.terminate() == 0
    for process in (server, worker):
        assert TOKEN not in process.text()
        lines = [each for each in process.events() if "traces" in each["event"]]
        assert len(lines) == 1
        assert "refused" in lines[0]["reason"]
