"""What a configuration means, in lines for a person. It decides nothing.

It must not connect to anything, and shows no secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config
    from tocsin.config.api_keys import ApiKey
    from tocsin.config.client import Token
    from tocsin.config.integrations import Credential
    from tocsin.config.server import GrpcApi, HttpApiSection, Tls

NAMES_SHOWN = 10


def describe_config(config: Config) -> Iterator[tuple[str, str]]:
    """A name and a text for each line."""
    redacted = config.redacted()
    push = config.push_notifications
    yield "gRPC API", _describe_grpc(config)
    yield from _describe_http(config)
    has_key = config.admin.key.get_secret_value()
    yield (
        "operators",
        "AdminApi beside both: "
        + ("key set" if has_key else "no key set: only named keys with its methods"),
    )
    yield "registry", _describe_registry(config)
    yield "queue", _describe_queue(config)
    yield "worker", _describe_worker(config)
    providers = ", ".join(map(_describe_credential, push.credentials)) or "none"
    yield "providers", providers + (", dry run" if push.dry_run else "")
    yield "analytics", _describe_analytics(config)
    if config.engine.type == "redis":
        yield "engine", f"Redis {' '.join(redacted['engine']['redis']['address'])}"
    else:
        yield "engine", "memory: channels are in this one process"
    yield "namespaces", _describe_namespaces(config)
    yield "clients", _describe_client_doors(config)
    yield "tokens", _describe_tokens(config)
    origins = ", ".join(map(_show_origin, config.client.allowed_origins))
    yield "origins", origins or "none: no browser may connect"


def _show_origin(origin: str) -> str:
    from tocsin.config.showing import show_host

    scheme, slashes, host = origin.rpartition("://")
    return f"{scheme}{slashes}{show_host(host.rstrip('/'))}"


def _show_name(name: str) -> str:
    from tocsin.config.showing import show_name

    return show_name(name)


def _describe_registry(config: Config) -> str:
    match config.database.kind:
        case "postgresql":
            return f"PostgreSQL {config.redacted()['database']['postgresql']['dsn']}"
        case "sqlite":
            from tocsin.config.showing import show_path

            return f"SQLite {show_path(config.database.sqlite.path)}"
        case _:
            return "none: only raw and native sends work"


def _describe_queue(config: Config) -> str:
    queue = config.redacted()["push_notifications"]["queue"]
    match config.queue_kind:
        case "redis":
            return f"Redis {' '.join(queue['redis']['address'])}"
        case "postgresql":
            own = config.queue_dsn != config.database.postgresql.dsn
            where = queue["postgresql"]["dsn"] if own else "the registry's database"
            return f"PostgreSQL, {where}"
        case "sqlite":
            return "SQLite, the registry's file"
        case _:
            return "none: push notifications are off"


def _describe_credential(credential: Credential) -> str:
    name = _show_name(credential.identifier)
    if name == credential.provider:
        return name
    return f"{name} ({credential.provider}{'' if credential.active else ', inactive'})"


def _describe_worker(config: Config) -> str:
    if config.queue_kind is None:
        return "none needed"
    where = "inside serve" if config.worker_embedded else "run `tocsin worker` beside"
    return f"{where}, {config.worker.concurrency} batches at once"


def _describe_analytics(config: Config) -> str:
    match config.analytics_kind:
        case "clickhouse":
            return "in ClickHouse"
        case "sql":
            return "in the registry"
        case _:
            return "off: results of sends are not kept"


def _describe_grpc(config: Config) -> str:
    grpc = config.grpc_api
    if not grpc.enabled:
        return "off"
    access = _access(grpc)
    place = _join((grpc.address, grpc.port))
    return f"{place}, {access}{_describe_tls(grpc.tls)}"


def _describe_http(config: Config) -> Iterator[tuple[str, str]]:
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
    access = "no API" if api.disabled else f"API: {_access(api)}"
    tls = _describe_tls(http.tls)
    words = f"{_join(http.internal_at)}, {access}{tls}, {' '.join(served)}"
    yield "HTTP", words.rstrip(", ")
    if http.internal_at != http.public_at:
        yield "HTTP", f"{_join(http.public_at)}, for clients{tls}"


def _join(place: tuple[str, int]) -> str:
    from tocsin.config.showing import show_host

    return f"{show_host(place[0]) if place[0] else '*'}:{place[1]}"


def _describe_tls(tls: Tls) -> str:
    if not tls.enabled:
        return ""
    return ", TLS with client certificates" if tls.client_ca_pem else ", TLS"


def _access(door: GrpcApi | HttpApiSection) -> str:
    if door.insecure:
        return "insecure: no key needed"
    found = ["key set"] if door.key.get_secret_value() else []
    if door.keys:
        named = list(map(_describe_key, door.keys))
        found.append(f"named keys: {_first_of(named)}")
    return ", ".join(found) or "no key set: every call is refused"


def _describe_key(key: ApiKey) -> str:
    from tocsin.config.api_keys import show_rate

    limits = list(key.methods)
    if key.rate is not None:
        limits.append(show_rate(key.rate))
    return f"{_show_name(key.name)} ({' '.join(limits) or 'all methods'})"


def _first_of(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _describe_namespaces(config: Config) -> str:
    names = [_show_name(each.name) for each in config.channel.namespaces]
    return _first_of(names) or "none: only channels without a namespace"


def _describe_client_doors(config: Config) -> str:
    http_stream, uni_stream = config.http_stream, config.uni_http_stream
    uni_websocket, uni_sse = config.uni_websocket, config.uni_sse
    known = (
        ("WebSocket", not config.websocket.disabled, config.websocket.handler_prefix),
        ("SSE", config.sse.enabled, config.sse.handler_prefix),
        ("HTTP streaming", http_stream.enabled, http_stream.handler_prefix),
        ("one-way WebSocket", uni_websocket.enabled, uni_websocket.handler_prefix),
        ("one-way SSE", uni_sse.enabled, uni_sse.handler_prefix),
        ("one-way HTTP streaming", uni_stream.enabled, uni_stream.handler_prefix),
        ("demo page", config.demo.enabled, config.demo.handler_prefix),
    )
    doors = [f"{name} {path}" for name, is_on, path in known if is_on]
    uni_grpc = config.uni_grpc
    if uni_grpc.enabled:
        place = _join((uni_grpc.address, uni_grpc.port))
        doors.append(f"one-way gRPC {place}{_describe_tls(uni_grpc.tls)}")
    return ", ".join(doors) or "none"


def _describe_tokens(config: Config) -> str:
    client = config.client
    if client.insecure:
        return "not needed: client.insecure lets everybody do everything"
    if client.insecure_skip_token_signature_verify:
        return "taken without a look at their signatures"
    keys = _keys_of(client.token)
    words = f"verified by {keys}" if keys else "no key set: every token is refused"
    own = client.subscription_token
    if own.enabled:
        subscribing = _keys_of(own)
        told = f"by {subscribing}" if subscribing else "no key set"
        words += f"; for subscriptions {told}"
    if client.allow_anonymous_connect_without_token:
        words += "; none needed to connect without a user"
    if client.user_id_http_header:
        words += f"; or the header {_show_name(client.user_id_http_header)}"
    return words


def _keys_of(token: Token) -> str:
    if token.jwks_public_endpoint:
        return "published keys (JWKS)"
    kinds = (
        ("HMAC", token.hmac_secret_key.get_secret_value()),
        ("RSA", token.rsa_public_key),
        ("ECDSA", token.ecdsa_public_key),
    )
    return ", ".join(name for name, key in kinds if key)
