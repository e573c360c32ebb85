"""Questions to all nodes, and what their answers hold. Pure values.

The bytes travel between nodes of different releases: names are kept, unknown ones
are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHANNELS = "channels"
"""`{"pattern": glob}` to `{channel: connections subscribed on this node}`."""
CONNECTIONS = "connections"
"""`{"user": user}` to `{client id: description}`; no user is everybody.

A description is the API's ConnectionInfo in JSON, but that `meta` is text.
"""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """`jti` and `iat` of a token; a token without `iat` counts as issued at 0."""

    uid: str = ""
    issued_at: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionAnswer:
    """One connection. `channels` maps each to 1 where the server subscribed it, else 0.

    `token` is the connection token, `subscription_tokens` are by channel. `meta`
    is JSON text or empty, times are milliseconds.
    """

    user: str
    app_name: str = ""
    app_version: str = ""
    transport: str = ""
    protocol: str = ""
    connected_at_ms: int = 0
    ping_pong_latency_ms: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    token: TokenInfo | None = None
    subscription_tokens: Mapping[str, TokenInfo] = field(default_factory=dict)
    meta: str = ""


def parse_channels(answer: bytes) -> dict[str, int]:
    """One node's answer to `CHANNELS`."""
    counts: dict[str, int] = json.loads(answer or b"{}")
    return counts


def parse_connections(answer: bytes) -> dict[str, ConnectionAnswer]:
    """One node's answer to `CONNECTIONS`, by client id."""
    items: Mapping[str, Mapping[str, Any]] = json.loads(answer or b"{}")
    return {client: _connection(item) for client, item in items.items()}


def encode_params(**params: str) -> bytes:
    """The params of either question."""
    return json.dumps(params).encode()


def _connection(item: Mapping[str, Any]) -> ConnectionAnswer:
    state = item.get("state") or {}
    channels = state.get("channels") or {}
    tokens = state.get("subscription_tokens") or {}
    token = state.get("connection_token")
    return ConnectionAnswer(
        user=item.get("user", ""),
        app_name=item.get("app_name", ""),
        app_version=item.get("app_version", ""),
        transport=item.get("transport", ""),
        protocol=item.get("protocol", ""),
        connected_at_ms=item.get("connected_at_ms", 0),
        ping_pong_latency_ms=item.get("ping_pong_latency_ms", 0),
        labels=item.get("labels") or {},
        channels={name: each.get("source", 0) for name, each in channels.items()},
        token=None if token is None else _token(token),
        subscription_tokens={name: _token(each) for name, each in tokens.items()},
        meta=state.get("meta", ""),
    )


def _token(item: Mapping[str, Any]) -> TokenInfo:
    return TokenInfo(item.get("uid", ""), item.get("issued_at", 0))
