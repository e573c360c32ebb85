"""Sections of push notifications: queue, retries, limits, providers. Part of `config`.

It must not connect to anything; it resolves only what follows from the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tocsin.config.database import DatabaseKind, Dsn
from tocsin.config.durations import format_duration
from tocsin.config.fields import (
    Bool,
    Duration,
    Holds,
    Int,
    Kind,
    Number,
    Section,
    Shown,
    Text,
    Texts,
)
from tocsin.config.integrations import (
    SECTIONS,
    Credential,
    from_item,
    from_section,
    with_services,
)
from tocsin.config.redis_addresses import check_redis
from tocsin.config.results import Results
from tocsin.config.service_section import ServiceSection
from tocsin.config.showing import show_value
from tocsin.core.push_services import SERVICES, PushService

QueueKind = Literal["redis", "postgresql", "sqlite"]


def _check_providers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in SERVICES:
            known = ", ".join(SERVICES)
            raise ValueError(f"{show_value(name)} is no provider; known: {known}")
    return tuple(dict.fromkeys(names))


def _first_delays() -> str:
    """The waits before a first retry, as the reference shows them."""
    usual = PushService.first_retry_s
    others = ", ".join(
        f"{name} {format_duration(service.first_retry_s)}"
        for name, service in SERVICES.items()
        if service.first_retry_s != usual
    )
    return f"{format_duration(usual)}{others and f' ({others})'}"


Positive = Annotated[Int, Field(ge=1, le=2**31 - 1)]
NotNegative = Annotated[Int, Field(ge=0, le=2**31 - 1)]
Share = Annotated[Number, Field(ge=0, le=1)]
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
    """one of host:port, redis://, rediss://, unix://, redis+sentinel:// or
    redis+cluster://"""
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
    pgbouncer: Bool = False
    """as database.postgresql.pgbouncer, for the queue's own dsn"""
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

    first_delay: Annotated[Delay | None, Shown(_first_delays())] = None
    """bound of the first wait, then doubled: each wait is random between nothing (fcm
    10s) and that much more; Retry-After wins"""
    max_delay: Delay = 300.0
    """longest wait between two tries"""
    max_age: Delay = 3600.0
    """no try after this long; expire_at wins when earlier"""
    max_wait: Delay = 86_400.0
    """how long work waits for a credential that its provider refuses or slows down;
    no attempt is used up meanwhile, expire_at wins when earlier"""
    takeover: Annotated[Duration, Field(ge=1)] = 15.0
    """silence after which another worker takes a worker's entries over"""

    def first_delay_for(self, provider: str) -> float:
        """Seconds before the first retry at that provider."""
        if self.first_delay is not None:
            return self.first_delay
        return SERVICES[provider].first_retry_s

    def least_delay_for(self, provider: str) -> float:
        """Seconds that every retry waits there: the provider's own guidance.

        Only a `first_delay` that is set below it makes it shorter.
        """
        least = SERVICES[provider].least_retry_s
        return least if self.first_delay is None else min(least, self.first_delay)


class SendLogSettings(Section):
    """The log of sends, which is kept where a database is configured."""

    keep: Delay = 7 * 86_400.0
    """how long a send that is over stays in the log"""
    repair: Annotated[Literal["resume", "report"], Kind("string")] = "resume"
    """what becomes of an accepted send that the queue has lost: resume queues it again,
    report only says so"""


class DeadLetters(Section):
    """How long dead letters are kept. What is forgotten is counted and logged."""

    max: Annotated[Int, Field(ge=0)] = 0
    """the oldest are forgotten beyond so many; 0 = no limit"""
    max_age: Duration = 0.0
    """they are forgotten after so long; 0 = kept for ever"""


class Removals(Section):
    """How many devices verdicts of providers may remove before a person looks."""

    max_share: Share = 0.2
    """share of an integration's devices in a window; what goes beyond it is held for
    `tocsin devices removals`; 1 = nothing is held"""
    window: Annotated[Duration, Field(ge=60)] = 3600.0
    """the time that is looked at"""
    least: NotNegative = 50
    """so many in a window are never too many"""


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


@with_services
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
    send_log: SendLogSettings = SendLogSettings()
    results: Results = Results()
    queue: Queue = Queue()
    dead_letters: DeadLetters = DeadLetters()
    retry: Retry = Retry()
    removals: Removals = Removals()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _resolve_enabled(self) -> Self:
        if "enabled" not in self.model_fields_set:
            # Written past the frozen attribute: the object is still being made.
            self.__dict__["enabled"] = bool(self.active_providers)
        return self

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """Every integration, in the order that counts as that of their creation.

        First the sections of the enabled providers, each under its provider's name,
        then the list. A section without any key is none where the list has its
        provider: then `enabled_providers` speaks of that.
        """
        items = self.items
        listed = {item.provider for item in items if item.active}
        sections = self.sections
        return (
            *(
                from_section(name, sections[name])
                for name in self.enabled_providers
                if sections[name].model_fields_set or name not in listed
            ),
            *items,
        )

    @property
    def sections(self) -> Mapping[str, ServiceSection]:
        """The section of each declared service, enabled or not."""
        return {
            name: self.__dict__[service.section] for name, service in SERVICES.items()
        }

    @property
    def all_settings(self) -> Mapping[str, ServiceSection]:
        """The keys of every section and of every item, by the path that leads there."""
        sections = {SECTIONS[name]: each for name, each in self.sections.items()}
        return sections | {each.path: each.settings for each in self.items}

    @property
    def items(self) -> tuple[Credential, ...]:
        """What the list of integrations holds, active or not."""
        return tuple(map(from_item, self.__dict__["integrations"]))

    @property
    def active_credentials(self) -> tuple[Credential, ...]:
        """Those that are sent through."""
        return tuple(each for each in self.credentials if each.active)

    @property
    def active_providers(self) -> tuple[str, ...]:
        """The providers that can be sent to, each once."""
        return tuple(dict.fromkeys(each.provider for each in self.active_credentials))

    def first_delay_for(self, provider: str) -> float:
        """Seconds before the first retry at that provider."""
        return self.retry.first_delay_for(provider)
