"""Sections of the doors: HTTP, gRPC, TLS, health, metrics, logs. Part of `config`.

It must not open anything; it only says what was asked for.
"""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from tocsin.config.api_keys import ApiKeys
from tocsin.config.fields import (
    Bool,
    Duration,
    HeaderSecret,
    Identity,
    Int,
    Kind,
    Secret,
    Section,
    Shown,
    Text,
    Texts,
    parse_texts,
)
from tocsin.config.showing import show_value
from tocsin.core.lanes import LaneChoice, Priority
from tocsin.core.push_services import SERVICES

DEFAULT_MESSAGE_SIZE = 4 * 1024 * 1024

_PACKAGE = Path(__file__).parents[1]

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_HOST = re.compile(
    r"[A-Za-z0-9_.-]{0,253}|\[?[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,32})?\]?"
)
_LONGEST_LABEL = 63  # of a name in the DNS
Port = Annotated[Int, Field(ge=0, le=65535)]
Level = Literal["debug", "info", "warning", "error", "none"]
ErrorMode = Annotated[Literal["", "transport"], Kind("string")]


def _parse_message_size(value: object) -> object:
    return DEFAULT_MESSAGE_SIZE if value in (0, "0") else value


def _parse_level(value: object) -> object:
    text = value.strip().lower() if isinstance(value, str) else value
    names = {"trace": "debug", "warn": "warning", "fatal": "error", "critical": "error"}
    return names.get(text, text) if isinstance(text, str) else text


def _split_room(text: str) -> tuple[str, str]:
    room, _, level = text.partition("=")
    return room.strip(), str(_parse_level(level))


def _check_rooms(value: tuple[str, ...]) -> tuple[str, ...]:
    known = sorted(each.name for each in pkgutil.iter_modules([str(_PACKAGE)]))
    for text in value:
        room, level = _split_room(text)
        if room not in known:
            raise ValueError(f"must be room=level; the rooms are {', '.join(known)}")
        if level not in get_args(Level):
            raise ValueError(
                f"the level of {room} must be one of {', '.join(get_args(Level))}"
            )
    return value


def check_prefix(value: str) -> str:
    """A path without the slash at its end; raises `ValueError` for what is none."""
    if value and not _PREFIX.fullmatch(value):
        raise ValueError("must begin with / and hold only letters, digits and /-_.~")
    return value.rstrip("/")


def _check_host(value: str) -> str:
    value = value.strip()
    parts = value.strip("[]").split(".")
    if not _HOST.fullmatch(value) or any(len(part) > _LONGEST_LABEL for part in parts):
        raise ValueError("must be an IP address or a host name, without a port")
    return value


Host = Annotated[Text, AfterValidator(_check_host)]
"""Where to listen; empty where another key or every address is meant."""


class Tls(Section):
    """TLS of a door. A `*_pem` value is PEM text, base64 of it, or a path."""

    enabled: Bool = False
    """serve TLS"""
    cert_pem: Identity = ""
    """certificate chain: PEM text, base64 of it, or a path"""
    key_pem: Secret = SecretStr("")
    """private key: PEM text, base64 of it, or a path"""
    server_ca_pem: Text = ""
    """accepted for the published name; a server does not use it"""
    client_ca_pem: Identity = ""
    """given: a client certificate of this CA is required and verified"""
    insecure_skip_verify: Bool = False
    """accepted for the published name; a server does not use it"""
    server_name: Text = ""
    """accepted for the published name; a server does not use it"""


def _parse_optional_port(value: object) -> object:
    return 0 if value == "" else value


class HttpServer(Section):
    """The HTTP ports; `tls` holds for both."""

    address: Host = ""
    """listen address; empty = all"""
    port: Port = 8000
    """API, health and metrics over HTTP; 0 = any free port"""
    internal_address: Host = ""
    """listen address of the internal port; empty = `http_server.address`"""
    internal_port: Annotated[Port, BeforeValidator(_parse_optional_port), Shown("")] = 0
    """moves API, health and metrics to a port of their own; 0 = stay"""
    tls: Tls = Tls()
    reuse_port: Bool = False
    """several processes on `http_server.port`; internal ports stay apart"""

    @property
    def public_at(self) -> tuple[str, int]:
        """Address and port that everybody may reach."""
        return self.address, self.port

    @property
    def internal_at(self) -> tuple[str, int]:
        """Address and port of API, health and metrics; often the public ones."""
        return self.internal_address or self.address, self.internal_port or self.port


class HttpApiSection(Section):
    """The HTTP API and the access to it."""

    disabled: Bool = False
    """do not serve the HTTP API"""
    key: HeaderSecret = SecretStr("")
    """key of the HTTP API; none and not insecure = every call is refused"""
    keys: ApiKeys = ()
    insecure: Bool = False
    """no key needed on HTTP"""
    error_mode: ErrorMode = ""
    """empty: errors in the body; `transport`: as HTTP status"""
    handler_prefix: Annotated[Text, AfterValidator(check_prefix)] = "/api"
    """path prefix of the HTTP API"""


class GrpcApi(Section):
    """The gRPC API."""

    enabled: Bool = True
    """serve the gRPC API (the published default is false)"""
    address: Host = ""
    """listen address; empty = all"""
    port: Port = 10000
    """port of the gRPC API; 0 = any free port"""
    key: HeaderSecret = SecretStr("")
    """key of the gRPC API; none and not insecure = every call is refused"""
    keys: ApiKeys = ()
    insecure: Bool = False
    """no key needed on gRPC"""
    reflection: Bool = True
    """server reflection, behind the key (the published default is false)"""
    max_receive_message_size: Annotated[
        Int,
        BeforeValidator(_parse_message_size),
        Field(ge=1024, le=2**31 - 1),
    ] = DEFAULT_MESSAGE_SIZE
    """bytes; 0 = the default"""
    error_mode: ErrorMode = ""
    """empty: errors in the reply; `transport`: as gRPC status"""
    tls: Tls = Tls()
    reuse_port: Bool = False
    """several processes on one port; off: a busy port is an error"""


class Health(Section):
    """Liveness and readiness."""

    enabled: Bool = True
    """serve /health and /ready (the published default is false)"""


class Prometheus(Section):
    """Metrics."""

    enabled: Bool = True
    """serve /metrics (the published default is false)"""
    namespace: Annotated[Text, Field(pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$")] = (
        "centrifugo"
    )
    """prefix of metric names; empty = none"""


def _check_lanes(texts: tuple[str, ...]) -> tuple[str, ...]:
    unknown = LaneChoice(texts).find_unknown(SERVICES)
    if unknown is not None:
        raise ValueError(
            f"{show_value(unknown)} is no lane; a lane is a priority"
            f" ({', '.join(Priority)}), a provider, or both as in PROVIDER:bulk"
        )
    return tuple(dict.fromkeys(texts))


class WorkerSection(Section):
    """The worker, as a process of its own or inside `serve`."""

    embedded: Annotated[
        Bool | None, Shown("true when the queue lives in SQLite, else false")
    ] = None
    """`serve` runs a worker inside"""
    port: Port = 0
    """the worker's /health, /ready and /metrics; 0 = none"""
    concurrency: Annotated[Int, Field(ge=1, le=10_000)] = 64
    """batches at once per lane: a provider and a priority"""
    lanes: Annotated[Texts, AfterValidator(_check_lanes), Shown("all")] = ()
    """what it works on: priorities (transactional, normal, bulk), providers, or both as
    in fcm:bulk; empty = everything"""


class Shutdown(Section):
    """Leaving."""

    timeout: Duration = 30.0
    """how long work in flight may take to end after SIGTERM"""


class Reload(Section):
    """Taking a changed configuration while the process runs."""

    watch_files: Bool = True
    """notice changes of the configuration file, and of credentials and certificates
    that it names; false: at SIGHUP alone"""
    interval: Annotated[Duration, Field(ge=0.1, le=3600)] = 2.0
    """how often is looked; a change is taken when it stood still for two looks"""


class Log(Section):
    """What is logged."""

    level: Annotated[
        Level,
        BeforeValidator(_parse_level),
        Kind("string"),
    ] = "info"
    """debug, info, warning (warn), error or none"""
    rooms: Annotated[
        tuple[str, ...],
        BeforeValidator(parse_texts),
        AfterValidator(_check_rooms),
        Kind("list"),
    ] = ()
    """levels of single rooms, over `log.level`: `sessions=debug`, `delivery=warning`"""

    def by_room(self) -> dict[str, str]:
        """The level of each room that has one of its own; the last one said counts."""
        return dict(_split_room(text) for text in self.rooms)
