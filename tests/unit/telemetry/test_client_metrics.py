from __future__ import annotations

from tocsin.telemetry.client_metrics import ClientMetrics

CLIENT = "transport accept_protocol client_name client_version"
PUBLISHED = {
    "client_connections_accepted": CLIENT,
    "client_connections_inflight": CLIENT,
    "client_subscriptions_accepted": "client_name channel_namespace",
    "client_subscriptions_inflight": "client_name channel_namespace",
    "client_command_duration_seconds": "method channel_namespace",
    "client_command_duration_seconds_histogram": "method channel_namespace",
    "client_num_reply_errors": "method code channel_namespace",
    "client_num_server_unsubscribes": "code channel_namespace",
    "client_num_server_disconnects": "code",
    "client_recover": "recovered channel_namespace has_recovered_publications",
    "client_ping_pong_duration_seconds": "transport",
    "transport_messages_sent": "transport frame_type channel_namespace",
    "transport_messages_sent_size": "transport frame_type channel_namespace",
    "transport_messages_received": "transport frame_type channel_namespace",
    "transport_messages_received_size": "transport frame_type channel_namespace",
    "transport_outgoing_close_count": "transport code",
    "node_messages_received_count": "type channel_namespace",
    "node_broadcast_duration_seconds": "type channel_namespace",
    "node_tags_filter_dropped_publications": "channel_namespace",
    "node_client_connection_limit": "",
}


def test_names_and_labels_are_the_published_ones() -> None:
    """Dashboards made for the published server find every name and label."""
    defined = {each.name: " ".join(each.labels) for each in ClientMetrics().series}
    assert defined == PUBLISHED


def test_limits_are_counted() -> None:
    """A refused connection is counted; the counter stands from the start."""
    meter = ClientMetrics()
    (series,) = [s for s in meter.series if s.name == "node_client_connection_limit"]
    assert list(series.samples()) == [("", (), (), 0)]
    meter.refused()
    assert list(series.samples()) == [("", (), (), 1)]
