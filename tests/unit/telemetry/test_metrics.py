import os

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tocsin import __version__
from tocsin.telemetry.client_metrics import ClientMetrics
from tocsin.telemetry.metrics import Metrics, PoolStats

NAMESPACE = "channel_namespace"
CLIENT = {"transport", "accept_protocol", "client_name", "client_version"}
FRAME = {"transport", "frame_type", NAMESPACE}

DOCUMENTED = {
    "push_notification_count": (
        "counter",
        {"provider", "recipient_type", "platform", "success", "err_code"},
    ),
    "push_queue_consuming_lag": ("gauge", {"provider", "queue"}),
    "push_consuming_inflight_jobs": ("gauge", {"provider", "queue"}),
    "push_job_duration_seconds": ("summary", {"provider", "recipient_type"}),
    "push_job_duration_seconds_histogram": (
        "histogram",
        {"provider", "recipient_type", "le"},
    ),
    "api_command_duration_seconds": ("summary", {"protocol", "method"}),
    "api_command_duration_seconds_histogram": (
        "histogram",
        {"protocol", "method", "le"},
    ),
    "api_command_errors_total": ("counter", {"protocol", "method", "error"}),
    "api_key_command_count": ("counter", {"protocol", "key", "result"}),
    "tls_certificate_expiry_timestamp_seconds": ("gauge", {"door", "file"}),
    "config_reload_count": ("counter", {"result"}),
    "config_reload_timestamp_seconds": ("gauge", {"result"}),
    "node_build": ("gauge", {"version"}),
    "database_pool_max_conns": ("gauge", {"pool"}),
    "database_pool_total_conns": ("gauge", {"pool"}),
    "database_pool_idle_conns": ("gauge", {"pool"}),
    "database_pool_acquired_conns": ("gauge", {"pool"}),
    "database_pool_acquires_total": ("counter", {"pool"}),
    "database_pool_empty_acquires_total": ("counter", {"pool"}),
    "database_pool_canceled_acquires_total": ("counter", {"pool"}),
    "database_pool_acquire_wait_seconds_total": ("counter", {"pool"}),
    "node_num_clients": ("gauge", set()),
    "node_num_users": ("gauge", set()),
    "node_num_subscriptions": ("gauge", set()),
    "node_num_channels": ("gauge", set()),
    "node_num_nodes": ("gauge", set()),
    "node_messages_sent_count": ("counter", {"type", "channel_namespace"}),
    "node_action_count": ("counter", {"action", "channel_namespace"}),
    "broker_publish_suppressed_count": ("counter", {"reason", "channel_namespace"}),
    "push_scheduled_request_count": ("counter", {"recipient_type"}),
    "rate_limit_hits_over_limit": ("counter", set()),
    "clickhouse_analytics_drop_count": ("counter", {"type"}),
    "clickhouse_analytics_flush_duration_seconds": (
        "summary",
        {"type", "retries", "result"},
    ),
    "clickhouse_analytics_flush_duration_seconds_histogram": (
        "histogram",
        {"type", "retries", "result", "le"},
    ),
    "clickhouse_analytics_batch_size": ("summary", {"type"}),
    "clickhouse_analytics_batch_size_histogram": ("histogram", {"type", "le"}),
    "push_request_count": ("counter", {"recipient_type", "result"}),
    "push_retry_count": ("counter", {"provider", "err_code"}),
    "push_dead_letter_count": ("counter", {"provider", "reason"}),
    "push_dead_letters_kept": ("gauge", {"provider", "reason"}),
    "push_dead_letter_oldest_age_seconds": ("gauge", set()),
    "push_dead_letter_pruned_count": ("counter", {"provider", "reason"}),
    "push_lost_job_count": ("counter", {"provider", "reason"}),
    "push_queue_loss_count": ("counter", {"kind"}),
    "push_queue_lost_timestamp_seconds": ("gauge", set()),
    "push_open_send_count": ("gauge", set()),
    "push_result_count": ("counter", {"detail", "outcome"}),
    "push_repair_count": ("counter", {"result"}),
    "push_broken_account_count": ("counter", set()),
    "push_online_skipped_count": ("counter", {"provider", "platform"}),
    "push_device_removed_count": ("counter", {"provider", "reason"}),
    "push_removal_held_count": ("counter", {"provider", "reason"}),
    "push_credential_expiry_timestamp_seconds": (
        "gauge",
        {"provider", "integration"},
    ),
    "push_removal_waiting_count": ("gauge", {"provider", "integration"}),
    "push_halted_send_count": ("counter", {"provider", "code"}),
    "push_credential_breaker_state": ("gauge", {"provider", "integration"}),
    "push_credential_breaker_opened_count": (
        "counter",
        {"provider", "integration", "code"},
    ),
    "push_receipt_count": ("counter", {"provider", "success", "err_code"}),
    "node_survey_duration_seconds": ("summary", {"op"}),
    "node_survey_duration_seconds_histogram": ("histogram", {"op", "le"}),
    "client_connections_accepted": ("counter", CLIENT),
    "client_connections_inflight": ("gauge", CLIENT),
    "client_subscriptions_accepted": ("counter", {"client_name", NAMESPACE}),
    "client_subscriptions_inflight": ("gauge", {"client_name", NAMESPACE}),
    "client_command_duration_seconds": ("summary", {"method", NAMESPACE}),
    "client_command_duration_seconds_histogram": (
        "histogram",
        {"method", NAMESPACE, "le"},
    ),
    "client_num_reply_errors": ("counter", {"method", "code", NAMESPACE}),
    "client_num_server_unsubscribes": ("counter", {"code", NAMESPACE}),
    "client_num_server_disconnects": ("counter", {"code"}),
    "client_recover": (
        "counter",
        {"recovered", NAMESPACE, "has_recovered_publications"},
    ),
    "client_ping_pong_duration_seconds": ("histogram", {"transport", "le"}),
    "transport_messages_sent": ("counter", FRAME),
    "transport_messages_sent_size": ("counter", FRAME),
    "transport_messages_received": ("counter", FRAME),
    "transport_messages_received_size": ("counter", FRAME),
    "transport_outgoing_close_count": ("counter", {"transport", "code"}),
    "node_messages_received_count": ("counter", {"type", NAMESPACE}),
    "node_broadcast_duration_seconds": ("histogram", {"type", NAMESPACE, "le"}),
    "node_tags_filter_dropped_publications": ("counter", {NAMESPACE}),
    "node_client_connection_limit": ("counter", set()),
}


def be_busy(clients: ClientMetrics) -> None:
    clients.connected("websocket", "js", "")
    clients.ended("websocket", "js", "")
    clients.subscribed("js")
    clients.commanded("subscribe", 0.002)
    clients.replied_error("subscribe", 103)
    clients.unsubscribed_by_server(2500)
    clients.disconnected_by_server("websocket", 3001)
    clients.recovered(True, False)
    clients.ponged("websocket", 0.1)
    clients.refused()
    clients.sent("sse", "push_publication", 2, 300)
    clients.received("websocket", "subscribe", 60)
    clients.heard("publication")
    clients.spread("publication", 0.001)
    clients.dropped(1)


def busy() -> Metrics:
    metrics = Metrics()
    metrics.push_notifications.add(3, "fcm", "filter", "ios", "true", "")
    metrics.push_notifications.add(1, "fcm", "filter", "web", "false", "unregistered")
    metrics.push_queue_consuming_lag.set(7, "fcm", "send:fcm")
    metrics.push_consuming_inflight_jobs.add(1, "fcm", "send:fcm")
    metrics.observe_job(0.2, "fcm", "filter")
    metrics.observe_command(0.003, "grpc", "device_register")
    metrics.api_command_errors.add(1, "grpc", "device_register", "107")
    metrics.api_key_commands.add(1, "grpc", "billing", "denied")
    metrics.tls_certificate_expiry.set(1e9, "grpc_api", "cert_pem")
    metrics.config_reloads.add(1, "taken")
    metrics.config_reloaded_at.set(1e9, "taken")
    metrics.push_requests.add(1, "filter", "accepted")
    metrics.push_scheduled_requests.add(1, "filter")
    metrics.rate_limit_hits.add(1)
    metrics.analytics_drops.add(1, "notifications")
    metrics.observe_flush(0.02, "notifications", "0", "ok")
    metrics.observe_flush_size(500, "notifications")
    metrics.push_retries.add(2, "fcm", "quota_exceeded")
    metrics.push_dead_letters.add(1, "fcm", "too_old")
    metrics.push_dead_letters_kept.set(1, "fcm", "too_old")
    metrics.push_dead_letters_pruned.add(1, "fcm", "too_old")
    metrics.push_online_skipped.add(3, "fcm", "ios")
    metrics.push_lost_jobs.add(1, "fcm", "gone")
    metrics.push_queue_losses.add(1, "replaced")
    metrics.push_repairs.add(1, "requeued")
    metrics.push_results.add(1, "recipient", "delivered")
    metrics.push_devices_removed.add(1, "fcm", "unregistered")
    metrics.push_removals_held.add(1, "fcm", "sender_id_mismatch")
    metrics.push_credential_expiry.set(1_900_000_000, "apns", "apns")
    metrics.push_removals_waiting.set(3, "fcm", "shop")
    metrics.push_halted_sends.add(1, "fcm", "payload_too_large")
    metrics.push_breaker_state.set(1, "fcm", "shop")
    metrics.push_breaker_openings.add(1, "fcm", "shop", "permission_denied")
    metrics.push_receipts.add(1, "expo", "false", "unregistered")
    metrics.watch_node(lambda: (5, 4, 3, 2, 1))
    metrics.node_messages_sent.add(1, "publication", "")
    metrics.node_actions.add(1, "history", "")
    metrics.broker_publish_suppressed.add(1, "version", "")
    metrics.observe_survey(0.01, "channels")
    be_busy(metrics.clients)
    metrics.watch_pool("main", lambda: PoolStats(16, 4, 3, 1, 99, 5, 0, 0.25))
    return metrics


def families(metrics: Metrics) -> dict[str, Metric]:
    """Parsed families under the names that stand in the text."""
    text = metrics.render().decode()
    named = [line.split()[2:] for line in text.splitlines() if "# TYPE" in line]
    parsed = list(text_string_to_metric_families(text))
    return {name: family for (name, _), family in zip(named, parsed, strict=True)}


def test_every_documented_name_is_exposed_exactly() -> None:
    """Names, types and labels are the documented ones; nothing is appended."""
    found = families(busy())
    for name, (kind, labels) in DOCUMENTED.items():
        family = found[f"centrifugo_{name}"]
        assert family.type == kind, name
        names = {label for sample in family.samples for label in sample.labels}
        assert names == labels, name


def test_no_series_appears_beside_the_documented_ones() -> None:
    """No `_created` and no doubled `_total` of a library."""
    text = busy().render().decode()
    assert "_created" not in text
    assert "push_notification_count_total" not in text
    own = {name for name in families(busy()) if name.startswith("centrifugo_")}
    assert own == {f"centrifugo_{name}" for name in DOCUMENTED}


def test_what_was_counted_is_what_is_scraped() -> None:
    """A scrape shows the values under their labels."""
    text = busy().render().decode()
    for line in (
        (
            'push_notification_count{provider="fcm",recipient_type="filter",'
            'platform="ios",success="true",err_code=""} 3'
        ),
        'push_queue_consuming_lag{provider="fcm",queue="send:fcm"} 7',
        "node_num_clients 5",
        "node_num_nodes 1",
        'node_action_count{action="history",channel_namespace=""} 1',
        'push_job_duration_seconds_sum{provider="fcm",recipient_type="filter"} 0.2',
        (
            'api_command_errors_total{protocol="grpc",method="device_register",'
            'error="107"} 1'
        ),
        'database_pool_acquire_wait_seconds_total{pool="main"} 0.25',
        f'node_build{{version="{__version__}"}} 1',
    ):
        assert f"centrifugo_{line}" in text.splitlines()


def test_a_name_is_announced_before_anything_was_counted() -> None:
    """A fresh process already tells type and help of every metric."""
    found = families(Metrics())
    assert {f"centrifugo_{name}" for name in DOCUMENTED} <= set(found)


def test_the_prefix_is_configurable() -> None:
    """Another namespace, or none, changes our names and no others."""
    assert b"\nmine_push_request_count" in Metrics("mine").render().replace(
        b"# TYPE ", b"\n"
    )
    bare = families(Metrics(""))
    assert "push_notification_count" in bare
    assert "process_cpu_seconds_total" in families(Metrics("mine"))


def test_each_pool_is_read_at_the_scrape() -> None:
    """Pools keep their labels apart and are asked each time."""
    metrics = Metrics()
    sizes = iter([1, 2])
    metrics.watch_pool("a", lambda: PoolStats(total_conns=next(sizes)))
    metrics.watch_pool("b", lambda: PoolStats(total_conns=9))
    assert b'pool_total_conns{pool="a"} 1\n' in metrics.render()
    text = metrics.render()
    assert b'pool_total_conns{pool="a"} 2\n' in text
    assert b'pool_total_conns{pool="b"} 9\n' in text


def test_the_process_tells_its_own_figures() -> None:
    """CPU, memory and open files stand under their usual names."""
    found = families(Metrics())
    cpu = found["process_cpu_seconds_total"].samples[0].value
    assert 0 < cpu <= sum(os.times()[:2]) + 1
    assert found["process_max_resident_memory_bytes"].samples[0].value > 1_000_000
    assert found["python_info"].samples[0].labels["implementation"]
