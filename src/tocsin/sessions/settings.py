"""Sessions room: the limits and rules of client connections, as plain values.

It must not read configuration; `app` fills it from the `client` section.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.core.client_codes import Disconnect


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """`client.*` under its published names, times in seconds.

    Limits of 0 are off. `single_connection` closes a user's other connections.
    `uni_disconnects` maps the error code of a refused one-way connect to its
    disconnect; other codes are mapped by `connecting.py`.
    """

    insecure: bool = False
    allow_anonymous_connect_without_token: bool = False
    disallow_anonymous_connection_tokens: bool = False
    user_id_http_header: str = ""
    ping_interval_s: float = 25.0
    pong_timeout_s: float = 8.0
    stale_close_delay_s: float = 10.0
    expired_close_delay_s: float = 25.0
    expired_sub_close_delay_s: float = 25.0
    presence_update_interval_s: float = 27.0
    channel_position_check_delay_s: float = 40.0
    channel_limit: int = 128
    queue_max_size: int = 1_048_576
    concurrency: int = 0
    connection_limit: int = 0
    connection_rate_limit: int = 0
    user_connection_limit: int = 0
    history_max_publication_limit: int = 300
    recovery_max_publication_limit: int = 300
    connect_include_server_time: bool = False
    single_connection: bool = False
    allowed_origins: tuple[str, ...] = ()
    uni_disconnects: Mapping[int, Disconnect] = field(default_factory=dict)
