"""Every metric under its documented name. Part of `telemetry`.

It must not be told what a number means: callers count, this room writes it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tocsin.core.traces import span_id_of, trace_id_of
from tocsin.core.version import VERSION
from tocsin.telemetry.client_metrics import ClientMetrics
from tocsin.telemetry.open_metrics import END, render_open_metrics
from tocsin.telemetry.process import process_series
from tocsin.telemetry.series import (
    Counter,
    Gauge,
    Histogram,
    Series,
    Summary,
    render,
)
from tocsin.telemetry.spans import Tracer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

JOB_BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COMMAND_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SURVEY_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FLUSH_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FLUSH_SIZE_BOUNDS = (1, 10, 100, 1000, 5000, 10_000, 50_000, 100_000, 500_000)


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a database pool tells about itself; times in seconds since start."""

    max_conns: int = 0
    total_conns: int = 0
    idle_conns: int = 0
    acquired_conns: int = 0
    acquires_total: int = 0
    empty_acquires_total: int = 0
    canceled_acquires_total: int = 0
    acquire_wait_seconds_total: float = 0


_POOL_GAUGES = {
    "max_conns": "Connections at most.",
    "total_conns": "Connections open.",
    "idle_conns": "Connections open and free.",
    "acquired_conns": "Connections in use.",
}
_POOL_COUNTERS = {
    "acquires_total": "Connections handed out.",
    "empty_acquires_total": "Hand-outs that had to wait for a connection.",
    "canceled_acquires_total": "Waits for a connection that were given up.",
    "acquire_wait_seconds_total": "Seconds spent waiting for a connection.",
}


class Metrics:
    """One process's metrics. Label values are given in the order of the labels.

    `namespace` is `prometheus.namespace`; empty means no prefix. What connections and
    the fan-out count is in `clients`. Where `tracer` is set, durations point to the
    traces that took so long (exemplars).
    """

    content_type = CONTENT_TYPE

    def __init__(self, namespace: str = "centrifugo") -> None:
        self.prefix = f"{namespace}_" if namespace else ""
        self._series: list[Series] = []
        self._pools: dict[str, Callable[[], PoolStats]] = {}
        self._read_node: Callable[[], Sequence[int]] | None = None
        self.clients = ClientMetrics()
        self.tracer: Tracer | None = None
        self._define_push()
        self._define_api()
        self._define_configuration()
        self._define_node()
        self._define_analytics()
        build = self._gauge("node_build", "The release at work.", "version")
        build.set(1, VERSION)

    def _define_push(self) -> None:
        self.push_notifications = self._counter(
            "push_notification_count",
            "Notifications by what the provider said; err_code is empty on success, "
            "or unreadable_answer where the provider took it and the rest got lost.",
            *("provider", "recipient_type", "platform", "success", "err_code"),
        )
        self.push_queue_consuming_lag = self._gauge(
            "push_queue_consuming_lag",
            "Jobs that could be worked on now and wait in a queue, of every lane.",
            *("provider", "queue"),
        )
        self.push_consuming_inflight_jobs = self._gauge(
            "push_consuming_inflight_jobs",
            "Jobs that this process works on.",
            *("provider", "queue"),
        )
        self.push_job_duration, self.push_job_duration_histogram = self._timing(
            "push_job_duration_seconds",
            "From taking a job to settling it, in seconds.",
            JOB_BOUNDS_S,
            *("provider", "recipient_type"),
        )
        self.push_requests = self._counter(
            "push_request_count",
            "Calls of send_push_notification by result: accepted, repeated, requeued "
            "(repeated, and lost by the queue meanwhile), expired or refused.",
            *("recipient_type", "result"),
        )
        self.push_scheduled_requests = self._counter(
            "push_scheduled_request_count",
            "Sends accepted for later.",
            "recipient_type",
        )
        self.rate_limit_hits = self._counter(
            "rate_limit_hits_over_limit",
            "Recipients that a rate limit held back or dropped.",
        )
        self.push_retries = self._counter(
            "push_retry_count",
            "Recipients put back for a later try.",
            *("provider", "err_code"),
        )
        self.push_online_skipped = self._counter(
            "push_online_skipped_count",
            "Devices that got no push, since online_first reached their user.",
            *("provider", "platform"),
        )
        self.push_dead_letters = self._counter(
            "push_dead_letter_count",
            "Recipients that ended in the dead letters.",
            *("provider", "reason"),
        )
        self.push_dead_letters_kept = self._gauge(
            "push_dead_letters_kept",
            "Dead letters that are kept: jobs, not recipients. Every server tells all.",
            *("provider", "reason"),
        )
        self.push_dead_letter_oldest_age = self._gauge(
            "push_dead_letter_oldest_age_seconds",
            "For how long the oldest dead letter has been one, or 0.",
        )
        self.push_dead_letters_pruned = self._counter(
            "push_dead_letter_pruned_count",
            "Dead letters forgotten, as push_notifications.dead_letters says.",
            *("provider", "reason"),
        )
        self.push_queue_losses = self._counter(
            "push_queue_loss_count",
            "Times this process was the first to find that accepted work is lost: the "
            "queue was replaced, it went_back, or registry_went_back.",
            "kind",
        )
        self.push_queue_lost_at = self._gauge(
            "push_queue_lost_timestamp_seconds",
            "When the queue last was found to have lost data, in Unix seconds, or 0.",
        )
        self.push_open_sends = self._gauge(
            "push_open_send_count",
            "Accepted sends that are not over, in the send log.",
        )
        self.push_results = self._counter(
            "push_result_count",
            "Results that were kept for callers, of recipients and of whole sends.",
            *("detail", "outcome"),
        )
        self.push_repairs = self._counter(
            "push_repair_count",
            "Accepted sends the queue had lost: requeued or reported; moved counts "
            "queues that were used before and still have some.",
            "result",
        )
        self.push_broken_accounts = self._counter(
            "push_broken_account_count",
            "Accounts of sends that did not close when they were written down.",
        )
        self.push_lost_jobs = self._counter(
            "push_lost_job_count",
            "Jobs that left a worker's hands unsettled: taken_over by another worker, "
            "gone from the queue, data_lost by the queue, or unknown.",
            *("provider", "reason"),
        )
        self.push_devices_removed = self._counter(
            "push_device_removed_count",
            "Devices removed because the provider called their token dead.",
            *("provider", "reason"),
        )
        self.push_removals_held = self._counter(
            "push_removal_held_count",
            "Verdicts about tokens that removed nothing, since the credential or the"
            " provider is not believed.",
            *("provider", "reason"),
        )

        self.push_receipts = self._counter(
            "push_receipt_count",
            "Accepted messages by what the provider said of them later.",
            *("provider", "success", "err_code"),
        )
        self.push_removals_waiting = self._gauge(
            "push_removal_waiting_count",
            "Devices that their provider calls dead, and whose removal waits for a"
            " person, as `tocsin devices removals` lists them.",
            *("provider", "integration"),
        )
        self.push_halted_sends = self._counter(
            "push_halted_send_count",
            "Sends that were stopped, since the provider refuses their body.",
            *("provider", "code"),
        )
        self.push_breaker_state = self._gauge(
            "push_credential_breaker_state",
            "Whether sends through a credential wait, as this worker knows: 0 they do"
            " not, 1 the provider refuses it, 2 that is being probed, 3 it asks to"
            " wait.",
            *("provider", "integration"),
        )
        self.push_breaker_openings = self._counter(
            "push_credential_breaker_opened_count",
            "Times this worker was the first to find that a credential has to wait.",
            *("provider", "integration", "code"),
        )
        self.push_credential_expiry = self._gauge(
            "push_credential_expiry_timestamp_seconds",
            "When a provider's certificate ends, in Unix seconds.",
            *("provider", "integration"),
        )

    def _define_api(self) -> None:
        self.api_command_duration, self.api_command_duration_histogram = self._timing(
            "api_command_duration_seconds",
            "Time of a server API call, in seconds.",
            COMMAND_BOUNDS_S,
            *("protocol", "method"),
        )
        self.api_command_errors = self._counter(
            "api_command_errors_total",
            "Failed server API calls; error is the code of the table, or a word.",
            *("protocol", "method", "error"),
        )
        self.api_key_commands = self._counter(
            "api_key_command_count",
            "Server API calls by the name of their key, commands of a batch each: "
            "admitted, denied (another method than its own) or limited (its rate).",
            *("protocol", "key", "result"),
        )

    def _define_configuration(self) -> None:
        self.tls_certificate_expiry = self._gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When the first certificate of a door's cert_pem or client_ca_pem ends, in "
            "Unix seconds.",
            *("door", "file"),
        )
        self.config_reloads = self._counter(
            "config_reload_count",
            "Times the configuration was read anew: taken, or refused as a whole.",
            "result",
        )
        self.config_reloaded_at = self._gauge(
            "config_reload_timestamp_seconds",
            "When the configuration was last read anew with this result, in Unix "
            "seconds.",
            "result",
        )

    def _define_analytics(self) -> None:
        # The documented names say ClickHouse; they count for every store.
        self.analytics_drops = self._counter(
            "clickhouse_analytics_drop_count",
            "Analytics rows that were dropped instead of stored.",
            "type",
        )
        self.analytics_flush, self.analytics_flush_histogram = self._timing(
            "clickhouse_analytics_flush_duration_seconds",
            "Time to write one batch of analytics rows, retry included, in seconds; "
            "result is ok, error or refused.",
            FLUSH_BOUNDS_S,
            *("type", "retries", "result"),
        )
        self.analytics_batch, self.analytics_batch_histogram = self._timing(
            "clickhouse_analytics_batch_size",
            "Rows per batch written.",
            FLUSH_SIZE_BOUNDS,
            "type",
        )

    def observe_flush(
        self, seconds: float, kind: str, retries: str, result: str
    ) -> None:
        """One batch of analytics rows ended, stored or not."""
        self.analytics_flush.observe(seconds, kind, retries, result)
        self.analytics_flush_histogram.observe(seconds, kind, retries, result)

    def observe_flush_size(self, rows: int, kind: str) -> None:
        """One batch of analytics rows is stored."""
        self.analytics_batch.observe(rows, kind)
        self.analytics_batch_histogram.observe(rows, kind)

    def _define_node(self) -> None:
        self.broker_publish_suppressed = self._counter(
            "broker_publish_suppressed_count",
            "Publications that were not published: repeated, or an older version.",
            *("reason", "channel_namespace"),
        )
        self.node_messages_sent = self._counter(
            "node_messages_sent_count",
            "Messages that this node gave to the broker or to other nodes.",
            *("type", "channel_namespace"),
        )
        self.node_actions = self._counter(
            "node_action_count",
            "What this node asked of broker, presence and other nodes.",
            *("action", "channel_namespace"),
        )
        self.node_survey, self.node_survey_histogram = self._timing(
            "node_survey_duration_seconds",
            "From asking all nodes to the last answer, in seconds.",
            SURVEY_BOUNDS_S,
            "op",
        )
        self._node_gauges = [
            self._gauge(f"node_num_{name}", text)
            for name, text in (
                ("clients", "Connections on this node."),
                ("users", "Different users among them, nobody counting as one."),
                ("subscriptions", "Subscriptions on this node."),
                ("channels", "Channels with a subscriber on this node."),
                ("nodes", "Nodes that are known, this one included."),
            )
        ]

    def watch_node(self, read: Callable[[], Sequence[int]]) -> None:
        """Expose the realtime corridor; `read` is called at each scrape.

        It tells connections, users, subscriptions, channels and nodes, in this order.
        """
        self._read_node = read

    def observe_survey(self, seconds: float, op: str) -> None:
        """All nodes were asked, whether or not all have answered."""
        self.node_survey.observe(seconds, op)
        self.node_survey_histogram.observe(seconds, op)

    def observe_job(self, seconds: float, provider: str, recipient_type: str) -> None:
        """One job of a worker ended, well or not."""
        self.push_job_duration.observe(seconds, provider, recipient_type)
        self.push_job_duration_histogram.observe(seconds, provider, recipient_type)
        if self.tracer is not None:
            histogram = self.push_job_duration_histogram
            self._mark(self.tracer, histogram, seconds, provider, recipient_type)

    def observe_command(self, seconds: float, protocol: str, method: str) -> None:
        """One API call ended; `protocol` is `grpc` or `http`."""
        self.api_command_duration.observe(seconds, protocol, method)
        self.api_command_duration_histogram.observe(seconds, protocol, method)
        if self.tracer is not None:
            histogram = self.api_command_duration_histogram
            self._mark(self.tracer, histogram, seconds, protocol, method)

    def _mark(
        self, tracer: Tracer, histogram: Histogram, seconds: float, *labels: str
    ) -> None:
        """Let the bucket point to the trace that is under way, if it is recorded."""
        if current := tracer.current():
            pair = f'trace_id="{trace_id_of(current)}",span_id="{span_id_of(current)}"'
            histogram.mark(seconds, time.time(), pair, *labels)

    def watch_pool(self, pool: str, read: Callable[[], PoolStats]) -> None:
        """Expose a database pool; `read` is called at each scrape."""
        self._pools[pool] = read

    def all_series(self) -> list[Series]:
        """Every metric except the ones of the process, which have no prefix."""
        if self._read_node is not None:
            counts = self._read_node()
            for gauge, count in zip(self._node_gauges, counts, strict=True):
                gauge.set(count)
        return [*self._series, *self.clients.series, *self._pool_series()]

    def render(self) -> bytes:
        """The text of `/metrics`; its type is `content_type`."""
        lines: list[str] = []
        for series in self.all_series():
            lines.extend(render(series, self.prefix))
        for series in process_series():
            lines.extend(render(series, ""))
        return "".join(lines).encode()

    def render_open_metrics(self) -> bytes:
        """The same in OpenMetrics, with exemplars; see `open_metrics.py`."""
        lines: list[str] = []
        for series in self.all_series():
            lines.extend(render_open_metrics(series, self.prefix))
        for series in process_series():
            lines.extend(render_open_metrics(series, ""))
        return "".join([*lines, END]).encode()

    def _pool_series(self) -> list[Series]:
        stats = {pool: read() for pool, read in self._pools.items()}
        out: list[Series] = []
        for kind, texts in ((Gauge, _POOL_GAUGES), (Counter, _POOL_COUNTERS)):
            for name, text in texts.items():
                series = kind(f"database_pool_{name}", text, ["pool"])
                for pool, values in stats.items():
                    series.add(getattr(values, name), pool)
                out.append(series)
        return out

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        counter = Counter(name, help, labels)
        self._series.append(counter)
        return counter

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        gauge = Gauge(name, help, labels)
        self._series.append(gauge)
        return gauge

    def _timing(
        self, name: str, help: str, bounds: tuple[float, ...], *labels: str
    ) -> tuple[Summary, Histogram]:
        """One measure under both documented names: the old summary, the histogram."""
        summary = Summary(name, help, labels)
        histogram = Histogram(f"{name}_histogram", help, labels, bounds=bounds)
        self._series += (summary, histogram)
        return summary, histogram
