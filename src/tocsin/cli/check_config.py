"""`tocsin check-config`: what a configuration means, or all that is wrong with it.

It must not connect to anything: the configuration may be meant for elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments, read_config

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from pydantic import SecretStr

    from tocsin.config import Config
    from tocsin.config.apns import Apns
    from tocsin.config.integrations import Credential
    from tocsin.config.server import Tls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which every verb gets its configuration."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print `ok` and what follows from the keys, or every fault; 0 or 2."""
    loaded = read_config(args)
    if loaded is None:
        return 2
    config = loaded.config
    faults = [
        *_find_bad_pem(config),
        *_find_bad_apns(config),
        *_find_bad_realtime(config),
        *_find_bad_redis(config),
    ]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    print("ok")
    print(f"source:    {loaded.source or 'no file'}")
    for name, text in _describe(config):
        print(f"{name + ':':<10} {text}")
    for warning in (*loaded.warnings, *_find_missing_files(config)):
        print(f"warning:   {warning}")
    return 0


def _describe(config: Config) -> Iterator[tuple[str, str]]:
    redacted = config.redacted()
    push = config.push_notifications
    match config.database.kind:
        case "postgresql":
            yield "database", f"PostgreSQL {redacted['database']['postgresql']['dsn']}"
        case "sqlite":
            yield "database", f"SQLite {config.database.sqlite.path}"
        case None:
            yield "database", "none: only raw and native sends work"
    queue = redacted["push_notifications"]["queue"]
    match config.queue_kind:
        case "redis":
            yield "queue", f"Redis {' '.join(queue['redis']['address'])}"
        case "postgresql":
            own = config.queue_dsn != config.database.postgresql.dsn
            where = queue["postgresql"]["dsn"] if own else "the database"
            yield "queue", f"PostgreSQL, {where}"
        case "sqlite":
            yield "queue", "SQLite, the database"
        case None:
            yield "queue", "none: push notifications are off"
    yield "worker", _describe_worker(config)
    yield "providers", ", ".join(map(_describe_credential, push.credentials)) or "none"
    yield "gRPC", _describe_grpc(config)
    yield "HTTP", _describe_http(config)


def _describe_credential(credential: Credential) -> str:
    name = credential.identifier
    if name == credential.provider:
        return name
    return f"{name} ({credential.provider}{'' if credential.active else ', inactive'})"


def _describe_worker(config: Config) -> str:
    if config.queue_kind is None:
        return "none needed"
    where = "inside serve" if config.worker_embedded else "run `tocsin worker` beside"
    return f"{where}, {config.worker.concurrency} batches at once"


def _describe_grpc(config: Config) -> str:
    grpc = config.grpc_api
    if not grpc.enabled:
        return "off"
    access = _access(grpc.key, grpc.insecure)
    return f"{grpc.address or '*'}:{grpc.port}, {access}{_describe_tls(grpc.tls)}"


def _describe_http(config: Config) -> str:
    http, api = config.http_server, config.http_api
    served = [
        path
        for paths, on in (
            (("/health", "/ready"), config.health.enabled),
            (("/metrics",), config.prometheus.enabled),
        )
        if on
        for path in paths
    ]
    address, port = http.internal_at
    access = "no API" if api.disabled else _access(api.key, api.insecure)
    where = f"{address or '*'}:{port}"
    return f"{where}, {access}{_describe_tls(http.tls)}, {' '.join(served)}".rstrip(
        ", "
    )


def _describe_tls(tls: Tls) -> str:
    if not tls.enabled:
        return ""
    return ", TLS with client certificates" if tls.client_ca_pem else ", TLS"


def _access(key: SecretStr, insecure: bool) -> str:
    if insecure:
        return "insecure: no key needed"
    if key.get_secret_value():
        return "key set"
    return "no key set: every call is refused"


def _find_bad_pem(config: Config) -> Iterator[str]:
    from tocsin.app.door_tls import find_tls_faults

    yield from find_tls_faults(config)


def _find_bad_apns(config: Config) -> Iterator[str]:
    """A key or certificate that is there and cannot be used."""
    from tocsin.config.apns import Apns
    from tocsin.providers.apns_setup import load_identity
    from tocsin.providers.errors import ProviderSetupError, relocate
    from tocsin.providers.table import apns_auth

    for credential in config.push_notifications.active_credentials:
        apns = credential.settings
        if not isinstance(apns, Apns):
            continue
        if any(name and not Path(name).is_file() for _, name in _files_of_apns(apns)):
            continue  # a warning: the configuration may be for another machine
        try:
            load_identity(
                apns_auth(apns), bundle_id=apns.bundle_id, ca_file=apns.ca_file
            )
        except ProviderSetupError as error:
            yield str(relocate(error, credential.path))


def _find_bad_redis(config: Config) -> Iterator[str]:
    """Certificates that an address names and that cannot be used."""
    addresses: list[tuple[str, str]] = []
    if config.engine.type == "redis":
        key = "engine.redis.address"
        addresses += [(key, url) for url in config.engine.redis.urls]
    if config.queue_kind == "redis":
        queue = config.push_notifications.queue.redis
        key = "push_notifications.queue.redis.address"
        if not queue.reuse_from_engine:
            addresses += [(key, address) for address in queue.address]
    if not any("_pem=" in address for _, address in addresses):
        return
    from tocsin.redis_access.connecting import Limits, UnusableAddress, open_client

    for key, address in addresses:
        try:
            _ = open_client(address, Limits(1, 1))  # no connection is made
        except UnusableAddress as error:
            yield f"{key}: {error}"


def _files_of_apns(apns: Apns) -> Iterator[tuple[str, str]]:
    yield "ca_file", apns.ca_file
    if apns.resolved_auth_type == "cert":
        yield "cert_p12_file", apns.cert_p12_file
    else:
        yield "token_key_file", apns.token_key_file


def _find_bad_realtime(config: Config) -> Iterator[str]:
    from tocsin.app.realtime_settings import find_realtime_faults

    yield from find_realtime_faults(config)


def _find_missing_files(config: Config) -> Iterator[str]:
    from tocsin.config.apns import Apns
    from tocsin.config.fcm import Fcm

    for credential in config.push_notifications.active_credentials:
        settings = credential.settings
        files: list[tuple[str, str]] = []
        if isinstance(settings, Fcm):
            files = [
                ("credentials_file", settings.credentials_file),
                ("ca_file", settings.ca_file),
            ]
        elif isinstance(settings, Apns):
            files = list(_files_of_apns(settings))
        for key, name in files:
            if name and not Path(name).is_file():
                yield (
                    f"{credential.path}.{key}: {name} is not there, seen "
                    f"from {Path.cwd()}; the worker needs it"
                )
