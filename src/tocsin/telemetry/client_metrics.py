"""The metrics of client connections, under their documented names. Part of `telemetry`.

It must not be told what a number means: callers count, this room writes it out. The
labels for namespaces, client names and protocols stay as coarse as in the published
open server: a client could otherwise make any number of series.
"""

from __future__ import annotations

from tocsin.telemetry.series import Counter, Gauge, Histogram, Series, Summary

COMMAND_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
ROUND_TRIP_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BROADCAST_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
_NAMESPACE = "channel_namespace"
_CLIENT = ("transport", "accept_protocol", "client_name", "client_version")
_FRAME = ("transport", "frame_type", _NAMESPACE)


class ClientMetrics:
    """What connections and the fan-out count; sizes are bytes, times seconds."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self._define_clients()
        self._define_transports()
        self._define_node()

    def _define_clients(self) -> None:
        self._accepted = self._counter(
            "client_connections_accepted", "Connections that passed connect.", *_CLIENT
        )
        self._inflight = self._gauge(
            "client_connections_inflight", "Connections that are open.", *_CLIENT
        )
        self._subscribed = self._counter(
            "client_subscriptions_accepted",
            "Subscriptions that came about.",
            *("client_name", _NAMESPACE),
        )
        self._subscriptions = self._gauge(
            "client_subscriptions_inflight",
            "Subscriptions that are in place.",
            *("client_name", _NAMESPACE),
        )
        name, help = "client_command_duration_seconds", "Time of a client's command."
        self._commands = Summary(name, help, ("method", _NAMESPACE))
        self._command_times = Histogram(
            f"{name}_histogram",
            help,
            ("method", _NAMESPACE),
            bounds=COMMAND_BOUNDS_S,
        )
        self.series += (self._commands, self._command_times)
        self._reply_errors = self._counter(
            "client_num_reply_errors",
            "Commands that were answered with an error.",
            *("method", "code", _NAMESPACE),
        )
        self._unsubscribes = self._counter(
            "client_num_server_unsubscribes",
            "Subscriptions that the server ended.",
            *("code", _NAMESPACE),
        )
        self._disconnects = self._counter(
            "client_num_server_disconnects",
            "Connections that the server ended.",
            "code",
        )
        self._recovers = self._counter(
            "client_recover",
            "Attempts to recover: whether all that was missed could be had.",
            *("recovered", _NAMESPACE, "has_recovered_publications"),
        )
        self._round_trips = self._histogram(
            "client_ping_pong_duration_seconds",
            "From a ping to its pong.",
            ROUND_TRIP_BOUNDS_S,
            "transport",
        )

    def _define_transports(self) -> None:
        self._sent = self._counter(
            "transport_messages_sent", "Messages to clients.", *_FRAME
        )
        self._sent_size = self._counter(
            "transport_messages_sent_size", "Bytes of messages to clients.", *_FRAME
        )
        self._received = self._counter(
            "transport_messages_received", "Messages from clients.", *_FRAME
        )
        self._received_size = self._counter(
            "transport_messages_received_size",
            "Bytes of messages from clients; a frame counts with its first message.",
            *_FRAME,
        )
        self._closes = self._counter(
            "transport_outgoing_close_count",
            "Connections that the server closed, by what it told them.",
            *("transport", "code"),
        )

    def _define_node(self) -> None:
        self._node_received = self._counter(
            "node_messages_received_count",
            "Messages that this node got from the broker or from other nodes.",
            *("type", _NAMESPACE),
        )
        self._broadcasts = self._histogram(
            "node_broadcast_duration_seconds",
            "From hearing of a message to having it ready for all subscribers here.",
            BROADCAST_BOUNDS_S,
            *("type", _NAMESPACE),
        )
        self._dropped = self._counter(
            "node_tags_filter_dropped_publications",
            "Publications that a subscriber's filter held back.",
            _NAMESPACE,
        )
        self._over_limit = self._counter(
            "node_client_connection_limit",
            "Connections refused because there were too many.",
        )

    # --- connections ---

    def connected(self, transport: str, name: str, version: str) -> None:
        """A connection passed connect."""
        labels = _client_labels(transport, name, version)
        self._accepted.add(1, *labels)
        self._inflight.add(1, *labels)

    def ended(self, transport: str, name: str, version: str) -> None:
        """A connection that had passed connect has ended."""
        self._inflight.add(-1, *_client_labels(transport, name, version))

    def subscribed(self, name: str) -> None:
        """A client named so was subscribed."""
        self._subscribed.add(1, _name_label(name), "")
        self._subscriptions.add(1, _name_label(name), "")

    def unsubscribed(self, name: str, count: int = 1) -> None:
        """Subscriptions of a client named so have ended."""
        self._subscriptions.add(-count, _name_label(name), "")

    def commanded(self, method: str, seconds: float) -> None:
        """A command was carried out, well or not."""
        self._commands.observe(seconds, method, "")
        self._command_times.observe(seconds, method, "")

    def replied_error(self, method: str, code: int) -> None:
        """A command was answered with an error."""
        self._reply_errors.add(1, method, str(code), "")

    def unsubscribed_by_server(self, code: int) -> None:
        """The server ended a subscription."""
        self._unsubscribes.add(1, str(code), "")

    def disconnected_by_server(self, transport: str, code: int) -> None:
        """The server ended a connection."""
        self._disconnects.add(1, str(code))
        self._closes.add(1, transport, str(code))

    def recovered(self, recovered: bool, has_publications: bool) -> None:
        """A client tried to recover."""
        self._recovers.add(1, _yes(recovered), "", _yes(has_publications))

    def ponged(self, transport: str, seconds: float) -> None:
        """A pong came."""
        self._round_trips.observe(seconds, transport)

    def refused(self) -> None:
        """A connection was refused because of a limit."""
        self._over_limit.add(1)

    # --- messages ---

    def sent(self, transport: str, frame: str, count: int, size: int) -> None:
        """Messages of a kind went to clients, `size` bytes together."""
        self._sent.add(count, transport, frame, "")
        self._sent_size.add(size, transport, frame, "")

    def received(self, transport: str, frame: str, size: int) -> None:
        """A message of a kind came from a client."""
        self._received.add(1, transport, frame, "")
        self._received_size.add(size, transport, frame, "")

    def heard(self, kind: str) -> None:
        """The broker or another node told this one something."""
        self._node_received.add(1, kind, "")

    def spread(self, kind: str, seconds: float) -> None:
        """A message is ready for everybody here."""
        self._broadcasts.observe(seconds, kind, "")

    def dropped(self, count: int) -> None:
        """Filters held a publication back from so many subscribers."""
        self._dropped.add(count, "")

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        counter = Counter(name, help, labels)
        self.series.append(counter)
        return counter

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        gauge = Gauge(name, help, labels)
        self.series.append(gauge)
        return gauge

    def _histogram(
        self, name: str, help: str, bounds: tuple[float, ...], *labels: str
    ) -> Histogram:
        histogram = Histogram(name, help, labels, bounds=bounds)
        self.series.append(histogram)
        return histogram


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


# Clients choose their names: the label only says whether there is one.
def _name_label(name: str) -> str:
    return "unregistered" if name else "unnamed"


def _client_labels(transport: str, name: str, version: str) -> tuple[str, ...]:
    known = "unregistered" if version else "unversioned"
    return transport, "", _name_label(name), known
