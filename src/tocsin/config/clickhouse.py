"""Addresses, names and intervals of a ClickHouse. Part of `config`.

It must not reach any. The rules are also those of the statements that the values
become part of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tocsin.config.placeholders import find_placeholder
from tocsin.config.urls import ESCAPES, decode, split_url

_FORM = "http://user:password@host:8123"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_CLUSTER = re.compile(r"[A-Za-z0-9_.{}-]{1,128}")
_TTL = re.compile(
    r"[1-9][0-9]{0,5} (SECOND|MINUTE|HOUR|DAY|WEEK|MONTH|QUARTER|YEAR)S?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server listens and who asks."""

    origin: str
    user: str = ""
    password: str = field(default="", repr=False)


def parse_dsn(dsn: str) -> Address:
    """`http(s)://[user[:password]@]host[:port]`; raises `ValueError` with words."""
    dsn = dsn.strip()
    if shape := find_placeholder(dsn):
        raise ValueError(f"holds a placeholder that nothing has filled in ({shape})")
    parts = split_url(dsn, _FORM)
    if "#" in dsn or "@" in parts.path + parts.query:
        raise ValueError(f"has a / ? # or @ where none can stand: {ESCAPES}")
    if parts.scheme in ("tcp", "clickhouse", "native"):
        raise ValueError(
            "names the native port; give the HTTP port instead, as in"
            " http://user:password@host:8123"
        )
    host, port = parts.hostname, parts.port
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"must be a URL such as {_FORM}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin only; the database has a key of its own")
    host = f"[{host}]" if ":" in host else host
    at = f":{port}" if port else ""
    return Address(
        f"{parts.scheme}://{host}{at}",
        decode(parts.username or ""),
        decode(parts.password or ""),
    )


def check_name(value: str) -> str:
    """A database's name; raises `ValueError`."""
    if not _NAME.fullmatch(value):
        raise ValueError("must be a name of letters, digits and _")
    return value


def check_cluster(value: str) -> str:
    """A cluster's name or its macro; empty for none. Raises `ValueError`."""
    if value and not _CLUSTER.fullmatch(value):
        raise ValueError("must be the name of a cluster, or a macro such as {cluster}")
    return value


def check_ttl(value: str) -> str:
    """An interval as ClickHouse writes it; raises `ValueError`."""
    if not _TTL.fullmatch(value):
        raise ValueError("must be an interval such as 7 DAY")
    return value
