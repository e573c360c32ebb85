"""The whole configuration and what follows from several keys. Part of `config`.

It must not read files or the environment: `loader.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, Self

from pydantic import SecretStr, model_validator

from tocsin.config.admin import Admin
from tocsin.config.analytics import Analytics, ClickHouseAnalytics
from tocsin.config.channel import Channel
from tocsin.config.client import Client
from tocsin.config.database import DatabaseSection
from tocsin.config.durations import format_duration
from tocsin.config.engine import Denials, EngineSection, Node, Rpc, UserStatusSection
from tocsin.config.fields import Leaf, Section, leaves
from tocsin.config.postgres_dsns import parse_postgres
from tocsin.config.push import PushNotifications, QueueKind
from tocsin.config.redis_addresses import mask_redis, parse_redis
from tocsin.config.server import (
    GrpcApi,
    Health,
    HttpApiSection,
    HttpServer,
    Log,
    Prometheus,
    Reload,
    Shutdown,
    WorkerSection,
)
from tocsin.config.tracing import OpenTelemetry
from tocsin.config.transports import (
    Demo,
    Emulation,
    HttpStream,
    Init,
    Sse,
    UniGrpc,
    UniHttpStream,
    UniSse,
    UniWebSocket,
    WebSocket,
)
from tocsin.config.urls import MASK, hide_after_scheme, mask_url

# To the last @ before a blank or a quote: a password may hold anything unescaped.
_URL_PASSWORD = re.compile(r"(?<=://)([^:/?#\s]*):[^\s\"'<>]*@")
_WORD_PASSWORD = re.compile(
    r"((?:^|[\s?&;,])[a-z_]*(?:password|passfile|passwd|secret|key_pem)\s*=\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|[^\s&]*)",
    re.IGNORECASE,
)


class Config(Section):
    """Everything that can be set; attributes are the paths of the keys."""

    http_server: HttpServer = HttpServer()
    http_api: HttpApiSection = HttpApiSection()
    grpc_api: GrpcApi = GrpcApi()
    admin: Admin = Admin()
    health: Health = Health()
    prometheus: Prometheus = Prometheus()
    opentelemetry: OpenTelemetry = OpenTelemetry()
    database: DatabaseSection = DatabaseSection()
    worker: WorkerSection = WorkerSection()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()
    push_notifications: PushNotifications = PushNotifications()
    clickhouse_analytics: ClickHouseAnalytics = ClickHouseAnalytics()
    analytics: Analytics = Analytics()
    engine: EngineSection = EngineSection()
    node: Node = Node()
    client: Client = Client()
    channel: Channel = Channel()
    rpc: Rpc = Rpc()
    websocket: WebSocket = WebSocket()
    sse: Sse = Sse()
    http_stream: HttpStream = HttpStream()
    emulation: Emulation = Emulation()
    uni_websocket: UniWebSocket = UniWebSocket()
    uni_sse: UniSse = UniSse()
    uni_http_stream: UniHttpStream = UniHttpStream()
    uni_grpc: UniGrpc = UniGrpc()
    init: Init = Init()
    demo: Demo = Demo()
    reload: Reload = Reload()
    user_status: UserStatusSection = UserStatusSection()
    user_block: Denials = Denials()
    token_revoke: Denials = Denials()
    user_tokens_invalidate: Denials = Denials()

    @model_validator(mode="after")
    def _reuse_engine(self) -> Self:
        redis = self.push_notifications.queue.redis
        reuses = redis.reuse_from_engine and self.engine.type == "redis"
        if reuses and not redis.address:
            # Written past the frozen attribute: the object is still being made.
            redis.__dict__["address"] = self.engine.redis.urls
        return self

    @property
    def queue_kind(self) -> QueueKind | None:
        """What the push queue lives in; `None` when push is off."""
        push = self.push_notifications
        return push.queue.kind(self.database.kind) if push.enabled else None

    @property
    def queue_dsn(self) -> str:
        """The dsn of a queue in PostgreSQL, its own or the database's; else empty."""
        if self.queue_kind != "postgresql":
            return ""
        queue = self.push_notifications.queue
        own = queue.resolved_type == "postgresql" and not (
            queue.postgresql.reuse_from_database
        )
        return queue.postgresql.dsn if own else self.database.postgresql.dsn

    @property
    def queue_behind_pgbouncer(self) -> bool:
        """Whether a pooler is said to stand before `queue_dsn`."""
        own = self.push_notifications.queue.postgresql
        if self.queue_dsn == self.database.postgresql.dsn:
            return own.pgbouncer or self.database.postgresql.pgbouncer
        return own.pgbouncer

    @property
    def analytics_kind(self) -> Literal["clickhouse", "sql"] | None:
        """Where rows of what became of pushes go; `None` for nowhere."""
        clickhouse = self.clickhouse_analytics
        if clickhouse.enabled and clickhouse.export.notifications.enabled:
            return "clickhouse"
        in_database = self.database.kind is not None and self.analytics.retention > 0
        return "sql" if in_database else None

    @property
    def worker_embedded(self) -> bool:
        """Whether `serve` runs a worker inside."""
        if self.queue_kind is None:
            return False
        if self.worker.embedded is not None:
            return self.worker.embedded
        return self.queue_kind == "sqlite"

    def secrets(self) -> frozenset[str]:
        """Every secret in it, and every password in an address, for a log to hide."""
        found: set[str] = set()
        for path, leaf in built().items():
            value: Any = self
            for name in path.split("."):
                value = getattr(value, name)
            found.update(_secrets_of(value, leaf.path, holds=leaf.holds_secret))
        return frozenset(found)

    def redacted(self) -> dict[str, Any]:
        """Nested plain values for a log: secrets are `***`, durations text."""
        out: dict[str, Any] = {}
        for path, leaf in built().items():
            value: Any = self
            node = out
            *parents, last = path.split(".")
            for name in parents:
                value = getattr(value, name)
                node = node.setdefault(name, {})
            node[last] = _redact(getattr(value, last), leaf)
        return out


@cache
def built() -> dict[str, Leaf]:
    """Every key that this release has, by path."""
    return {leaf.path: leaf for leaf in leaves(Config)}


def mask_passwords(text: str) -> str:
    """A foreign text without the passwords of dsns and URLs that it quotes."""
    masked = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _WORD_PASSWORD.sub(rf"\1{MASK}", masked)


def mask_address(path: str, text: str) -> str:
    """The value of a key that may hold a password, masked by its structure.

    Where the structure cannot be read, nothing after the scheme is shown.
    """
    if not text:
        return ""
    if path.endswith("dsn") and not path.startswith("clickhouse"):
        try:
            return parse_postgres(text).masked()
        except ValueError:
            return hide_after_scheme(text)
    if ".redis." in path:
        return mask_redis(text)
    return mask_url(text)


def _secrets_of(value: Any, path: str, *, holds: bool) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Section):
        for name in type(value).model_fields:
            yield from _secrets_of(getattr(value, name), f"{path}.{name}", holds=False)
    elif isinstance(value, tuple):
        for item in value:
            yield from _secrets_of(item, path, holds=holds)
    elif isinstance(value, str) and holds:
        yield from _passwords_of(value, path)


def _passwords_of(text: str, path: str) -> Iterator[str]:
    """Passwords as they are sent and, where they differ, as they are written."""
    try:
        if ".redis." in path:
            address = parse_redis(text)
            yield from (address.login.password, address.sentinel_login.password)
        elif "postgresql" in path and text:
            yield parse_postgres(text).password
    except ValueError:
        return
    before = text.rpartition("@")[0].partition("://")[2]
    yield before.partition(":")[2]


def _redact(value: Any, leaf: Leaf) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, tuple):
        return [_redact(item, leaf) for item in value]
    if isinstance(value, float) and leaf.kind == "duration":
        return format_duration(value)
    if isinstance(value, str) and leaf.holds_secret:
        return mask_address(leaf.path, value)
    return value
