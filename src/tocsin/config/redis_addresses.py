"""Addresses of Redis, as every section that names one takes them. Part of `config`.

It must not resolve or call any of them, nor read the files that they name. A message
never repeats a value: there may be a password in it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from tocsin.config.durations import parse_duration
from tocsin.config.fields import parse_bool
from tocsin.config.placeholders import find_placeholder
from tocsin.config.showing import show_word
from tocsin.config.urls import ESCAPES, MASK, decode, hide_after_scheme, mask_user_info

T = TypeVar("T")
Kind = Literal["server", "socket", "sentinel", "cluster"]
Node = tuple[str, int]
"""Host and port."""

_KINDS: Mapping[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "tcp": ("server", False),
    "rediss": ("server", True),
    "unix": ("socket", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""What a scheme stands for, and whether it means TLS."""

_PORT = 6379
_SENTINEL_PORT = 26379
_MAX_DB = 10_000
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/?#@\[\]]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class RedisTls:
    """TLS of an address; each PEM is text, base64 of it, or a path, or empty."""

    ca_pem: str = ""
    cert_pem: str = ""
    key_pem: str = field(default="", repr=False)
    server_name: str = ""
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Login:
    """User and password for a server; both are empty for no login."""

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One address, read. `nodes` are servers, Sentinels, or some of a cluster."""

    kind: Kind
    nodes: tuple[Node, ...] = ()
    path: str = ""
    login: Login = Login()
    db: int = 0
    tls: RedisTls | None = None
    master_name: str = ""
    sentinel_login: Login = Login()
    sentinel_tls: RedisTls | None = None
    connect_timeout_s: float | None = None
    io_timeout_s: float | None = None
    client_name: str = ""
    force_resp2: bool = False


def check_redis(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Each address as it is; raises `ValueError` for one that cannot be read."""
    for address in addresses:
        try:
            parse_redis(address)
        except ValueError as error:
            if len(addresses) == 1:
                raise
            # A list in one text is split at commas and blanks, so a password with one
            # may have been cut in two.
            words = "a comma or a blank ends an address; in a password write %2C or %20"
            raise ValueError(f"{error}; {words}") from None
    return addresses


def mask_redis(address: str) -> str:
    """An address without its passwords; only the scheme of one that cannot be read."""
    try:
        parse_redis(address)
    except ValueError:
        return hide_after_scheme(address)
    if "://" not in address:
        return address
    parts = urlsplit(address.strip())
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{n}={MASK if n in _SECRET else v}" for n, v in pairs)
    where = f"{parts.scheme}://{mask_user_info(parts.netloc)}{parts.path}"
    return f"{where}?{query}" if query else where


def parse_redis(address: str) -> RedisAddress:
    """What an address says; raises `ValueError` with words for a person."""
    address = address.strip()
    if shape := find_placeholder(address):
        raise ValueError(f"holds a placeholder that nothing has filled in ({shape})")
    if "://" not in address:
        node = _parse_node(address, None)
        return RedisAddress("server", (node,))
    scheme = address.partition("://")[0]
    if scheme not in _KINDS:
        raise ValueError(f"must be host:port or a URL with {', '.join(_KINDS)}")
    kind, is_tls = _KINDS[scheme]
    if "#" in address:
        raise ValueError("holds a #: write it as %23 in a password or a path")
    if not address.isprintable():
        raise ValueError("holds a control character: write it as an escape")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ValueError("is no URL: look at the brackets of its host") from None
    if "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc):
        raise ValueError(f"has an @ where none can stand: {ESCAPES}")
    return _Reader(kind, parts).read(is_tls=is_tls)


class _Reader:
    """The parts of one URL on their way into a `RedisAddress`."""

    def __init__(self, kind: Kind, parts: SplitResult) -> None:
        self._kind = kind
        self._parts = parts
        # Checked before the options: with an unescaped ? in a password, an error about
        # options would show the rest of it as a name.
        self._nodes(())
        self._values, self._more = _split_options(parts.query, kind)

    def read(self, *, is_tls: bool) -> RedisAddress:
        tls = self._tls(is_tls=is_tls)
        user, password = self._login()
        address = RedisAddress(
            kind=self._kind,
            nodes=self._nodes(self._more),
            path=self._path(),
            login=Login(user, password),
            db=self._db(),
            tls=tls,
            master_name=self._values.get("sentinel_master_name", ""),
            sentinel_login=Login(
                self._values.get("sentinel_user", ""),
                self._values.get("sentinel_password", ""),
            ),
            sentinel_tls=self._sentinel_tls(tls),
            connect_timeout_s=self._timeout_s("connect_timeout"),
            io_timeout_s=self._timeout_s("io_timeout"),
            client_name=self._values.get("client_name", ""),
            force_resp2=self._bool("force_resp2", default=False),
        )
        if self._kind == "sentinel" and not address.master_name:
            raise ValueError("needs sentinel_master_name, as in ?sentinel_master_name=")
        return address

    def _login(self) -> tuple[str, str]:
        before, at, _ = self._parts.netloc.rpartition("@")
        user, _, password = before.partition(":") if at else ("", "", "")
        return decode(user), decode(password)

    def _nodes(self, more: Sequence[str]) -> tuple[Node, ...]:
        host = self._parts.netloc.rpartition("@")[2]
        if self._kind == "socket":
            if host:
                raise ValueError("must be unix:///path, with three slashes")
            return ()
        if not host:
            raise ValueError("names no host")
        port = _SENTINEL_PORT if self._kind == "sentinel" else _PORT
        nodes = [_parse_node(name, port) for name in (host, *more)]
        return tuple(dict.fromkeys(nodes))

    def _path(self) -> str:
        if self._kind != "socket":
            return ""
        if self._parts.path in ("", "/"):
            raise ValueError("must be unix:///path, and the path is missing")
        return decode(self._parts.path)

    def _db(self) -> int:
        texts = [self._values["db"]] if "db" in self._values else []
        if self._kind != "socket" and (path := self._parts.path.strip("/")):
            texts.append(path)
        numbers = set()
        for text in texts:
            if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > _MAX_DB:
                raise ValueError("the database must be a number from 0 to 10000")
            numbers.add(int(text))
        if len(numbers) > 1:
            raise ValueError("names two databases")
        db = numbers.pop() if numbers else 0
        if self._kind == "cluster" and db:
            raise ValueError("a cluster has database 0 only")
        return db

    def _tls(self, *, is_tls: bool) -> RedisTls | None:
        is_tls = self._bool("tls_enabled", default=is_tls)
        given = [name for name in self._values if name in _TLS]
        if not is_tls:
            if given:
                raise ValueError(f"{given[0]} needs TLS: use rediss or tls_enabled")
            return None
        cert, key = (self._values.get(f"tls_{n}_pem", "") for n in ("cert", "key"))
        if bool(cert) != bool(key):
            raise ValueError("tls_cert_pem and tls_key_pem must be set together")
        return RedisTls(
            ca_pem=self._values.get("tls_server_ca_pem", ""),
            cert_pem=cert,
            key_pem=key,
            server_name=self._values.get("tls_server_name", ""),
            verify=not self._bool("tls_insecure_skip_verify", default=False),
        )

    def _sentinel_tls(self, tls: RedisTls | None) -> RedisTls | None:
        is_tls = self._bool("sentinel_tls_enabled", default=tls is not None)
        if self._kind != "sentinel" or not is_tls:
            return None
        return tls or RedisTls()

    def _timeout_s(self, name: str) -> float | None:
        seconds = self._parsed(name, parse_duration)
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{name}: must be more than 0")
        return seconds

    def _bool(self, name: str, *, default: bool) -> bool:
        value = self._parsed(name, parse_bool)
        return default if value is None else value

    def _parsed(self, name: str, parse: Callable[[object], T]) -> T | None:
        if name not in self._values:
            return None
        try:
            return parse(self._values[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


_TLS = (
    "tls_server_ca_pem",
    "tls_cert_pem",
    "tls_key_pem",
    "tls_server_name",
    "tls_insecure_skip_verify",
)
_SECRET = ("sentinel_password", "tls_key_pem", "tls_cert_pem", "tls_server_ca_pem")
_ALWAYS = ("db", "connect_timeout", "io_timeout", "client_name", "force_resp2")
_SENTINEL = (
    "addr",
    "sentinel_master_name",
    "sentinel_user",
    "sentinel_password",
    "sentinel_tls_enabled",
)
_OPTIONS: Mapping[Kind, tuple[str, ...]] = {
    "server": (*_ALWAYS, "tls_enabled", *_TLS),
    "socket": _ALWAYS,
    "sentinel": (*_ALWAYS, "tls_enabled", *_TLS, *_SENTINEL),
    "cluster": (*_ALWAYS, "tls_enabled", *_TLS, "addr"),
}
"""The query options of each kind of address."""


def _split_options(query: str, kind: Kind) -> tuple[dict[str, str], list[str]]:
    """Options by name, and every `addr`; raises `ValueError`."""
    values: dict[str, str] = {}
    more: list[str] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS[kind]:
            known = ", ".join(_OPTIONS[kind])
            near = difflib.get_close_matches(name, _OPTIONS[kind], 1, 0.75)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f"has the option {show_word(name)}, which is not known{meant}; here"
                f" are: {known}"
            )
        if not value:
            raise ValueError(f"{name} is empty")
        if name == "addr":
            more.append(value)
        elif values.setdefault(name, value) != value:
            raise ValueError(f"{name} is there twice")
    return values, more


def _parse_node(text: str, default_port: int | None) -> Node:
    match = _HOST_PORT.fullmatch(text)
    port = int(match[2]) if match and match[2] else default_port
    if match is None or port is None or not 0 < port <= 65535:
        raise ValueError("must be host:port or a redis:// URL of a host and a port")
    return match[1].strip("[]"), port
