"""What one HTTP/2 connection may do at either gRPC door. Part of `protocol`: pure.

It must not know services; the doors hand these options to gRPC.
"""

from __future__ import annotations

MIN_PING_INTERVAL_MS = 1_000
"""A client's ping sooner after the last one, with no data between, is a strike."""
MAX_PING_STRIKES = 2
"""Strikes that are forgiven; the next ends the connection with `too_many_pings`."""

MAX_CALLS_OF_A_CONNECTION = 100
"""Open calls of one connection; further ones wait in the client."""
MAX_WAITING_CALLS = 10_000
"""Waiting calls of all connections. With more, gRPC ends some at random."""


def call_options() -> list[tuple[str, int]]:
    """Options of a gRPC server that answers calls in the order of their arrival.

    Without them one connection could have any number of calls wait before those of all
    others, without the key too.
    """
    return [
        ("grpc.max_concurrent_streams", MAX_CALLS_OF_A_CONNECTION),
        # Otherwise calls that have ended count until gRPC frees them: a client that
        # keeps to the limit had a quarter of its calls refused.
        ("grpc.http.overload_protection", 0),
        ("grpc.server.max_pending_requests", MAX_WAITING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_WAITING_CALLS),
    ]


def ping_options() -> list[tuple[str, int]]:
    """Options of a gRPC server that lets clients keep connections alive.

    gRPC's own default is five minutes between pings, and two hours without a call: a
    client that pings every ten seconds to check its connection would lose it.
    """
    return [
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
