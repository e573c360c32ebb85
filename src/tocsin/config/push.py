"""Sections of push notifications: queue, retries, limits, providers. Part of `config`.

It must not connect to anything; it resolves only what follows from the keys.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from tocsin.config.apns import Apns
from tocsin.config.database import DatabaseKind, Dsn
from tocsin.config.fields import (
    Bool,
    Duration,
    Holds,
    Int,
    Kind,
    Secret,
    Section,
    Shown,
    Text,
    Texts,
)
from tocsin.config.origins import Origin
from tocsin.config.raw_push import (
    Expo,
    OneSignal,
    PusherBeams,
    Pushpad,
    PushWebhook,
)
from tocsin.config.redis_addresses import check_redis
from tocsin.config.webpush import WebPush

PROVIDERS = (
    "fcm",
    "hms",
    "apns",
    "webpush",
    "expo",
    "one-signal",
    "push-webhook",
    "pusher-beams",
    "pushpad",
)
"""Every provider that has a name, in the order of the documents."""

BUILT_PROVIDERS = PROVIDERS
"""Those that this release can send to."""

QueueKind = Literal["redis", "postgresql", "sqlite"]

_FIRST_DELAY_S = 1.0
_FIRST_DELAY_BY_PROVIDER_S = {"fcm": 10.0}  # FCM's guidance: wait at least 10 s


def _check_providers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in PROVIDERS:
            raise ValueError(f'"{name}" is no provider; known: {", ".join(PROVIDERS)}')
    return tuple(dict.fromkeys(names))


Positive = Annotated[Int, Field(ge=1, le=2**31 - 1)]
Delay = Annotated[Duration, Field(gt=0)]
Prefix = Annotated[Text, Field(pattern=r"^[A-Za-z0-9_.:{}-]*$", max_length=100)]


class RedisQueue(Section):
    """The queue in Redis Streams."""

    address: Annotated[
        Texts,
        AfterValidator(check_redis),
        Kind("string or list"),
        Shown(""),
        Holds(),
        Field(repr=False),
    ] = ()
    """host:port, redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"""
    reuse_from_engine: Bool = False
    """use engine.redis.address"""
    prefix: Annotated[Prefix, Field(min_length=1)] = "tocsin"
    """prefix of every Redis key"""
    max_stream_length: Positive = 100_000
    """unfinished entries per stream; beyond it new work is refused"""


class PostgresqlQueue(Section):
    """The queue in a PostgreSQL of its own."""

    dsn: Dsn = ""
    """a PostgreSQL of the queue's own"""
    reuse_from_database: Bool = False
    """use database.postgresql.dsn"""
    prefix: Annotated[Text, Field(pattern=r"^([a-z_][a-z0-9_]*)?$", max_length=30)] = ""
    """prefix of the queue's table names"""


class Queue(Section):
    """Where accepted work waits."""

    type: Annotated[
        Literal["redis", "postgresql", "database"] | None,
        Kind("string"),
        Shown(
            "redis when a Redis address is set, postgresql when queue.postgresql "
            "names one, else database"
        ),
    ] = None
    """redis, postgresql (one of the queue's own) or database (the configured one)"""
    redis: RedisQueue = RedisQueue()
    postgresql: PostgresqlQueue = PostgresqlQueue()
    max_pending: Positive = 100_000
    """unfinished batches in a SQL queue before new work is refused"""

    @property
    def resolved_type(self) -> Literal["redis", "postgresql", "database"]:
        """`type`, or what the other keys imply where it is absent."""
        if self.type is not None:
            return self.type
        if self.redis.address:
            return "redis"
        own = self.postgresql.dsn or self.postgresql.reuse_from_database
        return "postgresql" if own else "database"

    def kind(self, database: DatabaseKind | None) -> QueueKind | None:
        """What the queue lives in, given the database; `None` if nowhere."""
        chosen = self.resolved_type
        if chosen == "redis":
            return "redis" if self.redis.address else None
        if chosen == "database":
            return database
        if self.postgresql.reuse_from_database:
            return "postgresql" if database == "postgresql" else None
        return "postgresql" if self.postgresql.dsn else None


class Retry(Section):
    """When a send that failed for now is tried again, and when work changes hands."""

    first_delay: Annotated[Delay | None, Shown("1s (fcm 10s)")] = None
    """then doubled, with jitter between 1 and 1.5 times"""
    max_delay: Delay = 300.0
    """longest wait between two tries"""
    max_age: Delay = 3600.0
    """no try after this long; expire_at wins when earlier"""
    takeover: Annotated[Duration, Field(ge=1)] = 15.0
    """silence after which another worker takes a worker's entries over"""

    def first_delay_for(self, provider: str) -> float:
        """Seconds before the first retry at that provider."""
        if self.first_delay is not None:
            return self.first_delay
        return _FIRST_DELAY_BY_PROVIDER_S.get(provider, _FIRST_DELAY_S)


class Limits(Section):
    """Sizes beyond which a request is refused."""

    token_length: Positive = 4096
    """bytes (a Web Push subscription: twice as much)"""
    topic_length: Positive = 255
    """bytes"""
    topics_per_device: Positive = 1000
    """topics that one device may hold"""
    page_size: Positive = 1000
    """a larger limit in a list call is clamped to it; the default page is 100"""
    payload_size: Positive = 65_536
    """bytes of one provider's body"""


class Fcm(Section):
    """Firebase Cloud Messaging."""

    credentials_file: Text = ""
    """service account JSON; its token_uri is honoured (http on loopback only)"""
    endpoint: Origin = "https://fcm.googleapis.com"
    """origin only; the path is appended"""
    ca_file: Text = ""
    """PEM file added to the system's roots, for the token endpoint too"""
    transport: Annotated[Literal["native", "sdk"], Kind("string")] = "native"
    """native: the fan-out engine; sdk: firebase-admin"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=10_000)] = 500
    """recipients per batch"""
    max_connections: Annotated[Int, Field(ge=1, le=100)] = 2
    """HTTP/2 connections per worker"""


class Hms(Section):
    """Huawei Push Kit."""

    app_id: Text = ""
    """the application's id, which is its OAuth client id"""
    app_secret: Secret = SecretStr("")
    """the application's secret"""
    project_id: Text = ""
    """given: send through the v2 API of this project"""
    auth_endpoint: Origin = "https://oauth-login.cloud.huawei.com"
    """origin only; the path is appended"""
    push_endpoint: Origin = "https://push-api.cloud.huawei.com"
    """origin only; the path is appended"""
    ca_file: Text = ""
    """PEM file added to the system's roots, for both endpoints"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=1000)] = 1000
    """recipients per request"""
    max_connections: Annotated[Int, Field(ge=1, le=100)] = 8
    """requests under way at once per worker"""


class PushNotifications(Section):
    """Push notifications."""

    enabled: Annotated[Bool, Shown("true when enabled_providers is not empty")] = False
    """master switch of the push API and its workers"""
    enabled_providers: Annotated[Texts, AfterValidator(_check_providers)] = ()
    """providers to send to"""
    dry_run: Bool = False
    """workers do everything but contact providers; each push counts as a success"""
    dry_run_latency: Duration = 0.0
    """how long a push takes in a dry run"""
    max_inactive_device_interval: Duration = 0.0
    """devices that neither registered nor changed for so long are removed; 0 = never"""
    read_from_replica: Bool = False
    """lists and walks over devices are read from database.postgresql.replica_dsn"""
    uid_ttl: Delay = 86_400.0
    """how long the uid of a send is remembered"""
    switch_user_topics_on_update: Bool = True
    """device_update with another user switches user topics; false: they stay"""
    queue: Queue = Queue()
    retry: Retry = Retry()
    limits: Limits = Limits()
    fcm: Fcm = Fcm()
    hms: Hms = Hms()
    apns: Apns = Apns()
    webpush: WebPush = WebPush()
    expo: Expo = Expo()
    one_signal: OneSignal = OneSignal()
    push_webhook: PushWebhook = PushWebhook()
    pusher_beams: PusherBeams = PusherBeams()
    pushpad: Pushpad = Pushpad()

    @model_validator(mode="after")
    def _resolve_enabled(self) -> Self:
        if "enabled" not in self.model_fields_set:
            # Written past the frozen attribute: the object is still being made.
            self.__dict__["enabled"] = bool(self.enabled_providers)
        return self

    def first_delay_for(self, provider: str) -> float:
        """Seconds before the first retry at that provider."""
        return self.retry.first_delay_for(provider)
