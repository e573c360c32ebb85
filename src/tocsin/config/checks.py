"""Keys that contradict or miss each other, which no single key shows. Part of `config`.

It must not touch files or the network; a configuration may be meant for elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tocsin.config.api_keys import find_key_faults
from tocsin.config.channel_checks import find_channel_faults
from tocsin.config.durations import format_duration
from tocsin.config.integrations import PATH, SECTIONS
from tocsin.config.path_checks import find_path_faults
from tocsin.config.root import Config
from tocsin.config.showing import show_name
from tocsin.core.push_services import SERVICES

_QUEUE = "push_notifications.queue"
_DSN = "database.postgresql.dsn"
_SQLITE = "database.sqlite.path"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A fault between keys; `about` are all keys that its message depends on."""

    path: str
    message: str
    about: tuple[str, ...]


def find_contradictions(config: Config) -> Iterator[Contradiction]:
    """Every fault that concerns more than one key."""
    yield from _check_database(config)
    yield from _check_ports(config)
    yield from _check_tls(config)
    yield from _check_keys(config)
    if config.push_notifications.enabled:
        yield from _check_queue(config)
        yield from _check_providers(config)
        yield from _check_lanes(config)
        yield from _check_results(config)
    yield from _check_identifiers(config)
    yield from _check_sections(config)
    yield from _check_retry(config)
    for found in find_channel_faults(config):
        yield Contradiction(*found)
    for found in find_path_faults(config):
        yield Contradiction(*found)
    yield from _check_clickhouse(config)


def _check_lanes(config: Config) -> Iterator[Contradiction]:
    path, enabled = "worker.lanes", config.push_notifications.active_providers
    for text in config.worker.lanes:
        name = text.partition(":")[0]
        if name in SERVICES and name not in enabled:
            yield Contradiction(
                path,
                f"names {text}, but {name} is not among the providers to send to",
                (path, "push_notifications"),
            )


def _check_results(config: Config) -> Iterator[Contradiction]:
    path = "push_notifications.results.detail"
    detail = config.push_notifications.results.detail
    if detail != "off" and config.database.kind is None:
        yield Contradiction(
            path,
            f"{detail} needs a database: set {_DSN} or {_SQLITE}",
            (path, "database"),
        )


def _check_database(config: Config) -> Iterator[Contradiction]:
    if config.database.postgresql.dsn and config.database.sqlite_given:
        yield Contradiction(
            "database", f"{_DSN} and {_SQLITE} are both set; keep one", (_DSN, _SQLITE)
        )
    if config.push_notifications.read_from_replica and not (
        config.database.postgresql.replica_dsn and config.database.kind == "postgresql"
    ):
        path = "push_notifications.read_from_replica"
        reason = f"needs {_DSN} and database.postgresql.replica_dsn"
        yield Contradiction(path, reason, (path, "database"))


def _check_ports(config: Config) -> Iterator[Contradiction]:
    http = config.http_server
    taken = [
        ("http_server", "port", http.address, http.port),
        ("http_server", "internal_port", http.internal_at[0], http.internal_port),
    ]
    for door, section in (("grpc_api", config.grpc_api), ("uni_grpc", config.uni_grpc)):
        if not section.enabled:
            continue
        for other, name, address, port in taken:
            # An empty address listens on all, and so takes the port from
            # every other.
            shared = address == section.address or not (address and section.address)
            if port == section.port != 0 and shared:
                yield Contradiction(
                    f"{door}.port",
                    f"is {section.port}, as {other}.{name} is; they need one each",
                    (door, other),
                )
        taken.append((door, "port", section.address, section.port))


def _check_tls(config: Config) -> Iterator[Contradiction]:
    for door, tls in (
        ("http_server", config.http_server.tls),
        ("grpc_api", config.grpc_api.tls),
        ("uni_grpc", config.uni_grpc.tls),
    ):
        about = (f"{door}.tls",)
        if tls.enabled:
            for name, given in (
                ("cert_pem", bool(tls.cert_pem)),
                ("key_pem", bool(tls.key_pem.get_secret_value())),
            ):
                if not given:
                    yield Contradiction(
                        f"{door}.tls.{name}", "must be set, since TLS is enabled", about
                    )
        elif tls.client_ca_pem:
            yield Contradiction(
                f"{door}.tls.client_ca_pem",
                f"is set but {door}.tls.enabled is not: no client certificate would "
                "be asked for",
                about,
            )


def _check_keys(config: Config) -> Iterator[Contradiction]:
    for path, door in (("http_api", config.http_api), ("grpc_api", config.grpc_api)):
        about = (f"{path}.key", f"{path}.keys", "admin.key")
        others = {f"{path}.key": door.key, "admin.key": config.admin.key}
        for place, message in find_key_faults(f"{path}.keys", door.keys, others):
            yield Contradiction(place, message, about)


def _check_queue(config: Config) -> Iterator[Contradiction]:
    push = config.push_notifications
    about = ("database", _QUEUE, "push_notifications.enabled")
    own = push.queue.postgresql
    chosen = push.queue.resolved_type
    if own.dsn and own.reuse_from_database:
        yield Contradiction(
            f"{_QUEUE}.postgresql",
            "dsn and reuse_from_database are both set; keep one",
            about,
        )
    if push.queue.kind(config.database.kind) is not None:
        return
    if chosen == "redis":
        path, message = (
            f"{_QUEUE}.redis.address",
            f"must be set: {_QUEUE}.type is redis",
        )
    elif chosen == "postgresql":
        path = f"{_QUEUE}.postgresql.dsn"
        message = f"must be set, or reuse_from_database together with {_DSN}"
    else:
        path = _QUEUE
        message = (
            f"push notifications need a queue: set {_QUEUE}.redis.address, {_DSN} "
            f"or {_SQLITE}"
        )
    yield Contradiction(path, message, about)


def _check_providers(config: Config) -> Iterator[Contradiction]:
    push = config.push_notifications
    if push.dry_run:
        return  # nobody is contacted, so nothing is needed for it
    for credential in push.active_credentials:
        path = credential.path
        # A key of the list is about the list; a section's key about itself.
        listed = path.partition("[")[0] if "[" in path else ""
        missing = credential.settings.find_missing(credential.provider)
        for key, message, about in missing:
            depends = listed or (f"{path}.{about}" if about else path)
            yield Contradiction(f"{path}.{key}", message, (depends,))


def _check_identifiers(config: Config) -> Iterator[Contradiction]:
    seen: set[str] = set()
    for number, item in enumerate(config.push_notifications.items):
        name = item.identifier
        reason = ""
        if name in seen:
            reason = f"{show_name(name)} is the identifier of two integrations"
        elif name in SECTIONS:
            reason = (
                f"{name} is the integration of the section push_notifications.{name}"
            )
        seen.add(name)
        if reason:
            yield Contradiction(f"{PATH}[{number}].identifier", reason, (PATH,))


def _check_sections(config: Config) -> Iterator[Contradiction]:
    for path, settings in config.push_notifications.all_settings.items():
        for key, message in settings.find_contradictions():
            about = (path.partition("[")[0],)
            yield Contradiction(f"{path}.{key}", message, about)


def _check_retry(config: Config) -> Iterator[Contradiction]:
    retry = config.push_notifications.retry
    if retry.first_delay is not None and retry.first_delay > retry.max_delay:
        yield Contradiction(
            "push_notifications.retry.first_delay",
            f"is more than max_delay, {format_duration(retry.max_delay)}",
            ("push_notifications.retry",),
        )


def _check_clickhouse(config: Config) -> Iterator[Contradiction]:
    clickhouse = config.clickhouse_analytics
    if clickhouse.enabled and not clickhouse.clickhouse_dsn:
        yield Contradiction(
            "clickhouse_analytics.clickhouse_dsn",
            "must be set, since clickhouse_analytics.enabled is",
            ("clickhouse_analytics",),
        )
    notifications = clickhouse.export.notifications
    if notifications.flush_size > notifications.max_buffer_size:
        yield Contradiction(
            "clickhouse_analytics.export.notifications.flush_size",
            f"is more than max_buffer_size, {notifications.max_buffer_size}",
            ("clickhouse_analytics.export.notifications",),
        )
