"""The tables of names: published, planned, renamed, retired, guarded. Part of `config`.

It must not know types; the data lies in `names/` beside it.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from importlib.resources import files

from tocsin.config.durations import parse_duration
from tocsin.config.showing import show_value

COLLECTIONS = (
    "channel.namespaces",
    "rpc.namespaces",
    "namespaces",
    "rpc_namespaces",
    "proxies",
    "consumers",
)
"""Names that the published server extends in the environment by an item's name."""

_IN_ADDRESS = (
    "put it into push_notifications.queue.redis.address, as in "
    "rediss://user:password@host:6379/0"
)
_IN_DSN = "put it into the dsn, as sslmode and sslrootcert"
_IN_ENGINE = "put it into engine.redis.address"
_NOT_ASKED = "clients would be let in without asking the back end"

GUARDED = {
    "http_server.tls_autocert.enabled": "HTTP would be served without TLS",
    "http_server.internal_tls.enabled": "HTTP would be served without TLS",
    "http_api.jwks.enabled": "tokens would not be checked",
    "http_api.jwks.endpoint": "tokens would not be checked",
    "grpc_api.jwks.enabled": "tokens would not be checked",
    "grpc_api.jwks.endpoint": "tokens would not be checked",
    "client.proxy.connect.enabled": _NOT_ASKED,
    "channel.without_namespace.subscribe_proxy_enabled": _NOT_ASKED,
    "channel.without_namespace.subscribe_stream_proxy_enabled": _NOT_ASKED,
    "channel.without_namespace.publish_proxy_enabled": _NOT_ASKED,
    "channel.without_namespace.sub_refresh_proxy_enabled": _NOT_ASKED,
    "engine.redis.tls.enabled": f"{_IN_ENGINE}, as rediss://",
    "engine.redis.cluster_address": _IN_ENGINE,
    "engine.redis.sentinel_address": _IN_ENGINE,
    "engine.redis.sentinel_tls.enabled": _IN_ENGINE,
    "clickhouse_analytics.tls.enabled": "write https:// into clickhouse_dsn",
    "database.postgresql.tls.enabled": _IN_DSN,
    "push_notifications.queue.postgresql.tls.enabled": _IN_DSN,
    "push_notifications.queue.redis.tls.enabled": _IN_ADDRESS,
    "push_notifications.queue.redis.user": _IN_ADDRESS,
    "push_notifications.queue.redis.password": _IN_ADDRESS,
    "push_notifications.queue.redis.db": _IN_ADDRESS,
    "push_notifications.queue.redis.cluster_address": _IN_ADDRESS,
    "push_notifications.queue.redis.sentinel_address": _IN_ADDRESS,
    "push_notifications.queue.redis.sentinel_user": _IN_ADDRESS,
    "push_notifications.queue.redis.sentinel_password": _IN_ADDRESS,
    "push_notifications.queue.redis.sentinel_master_name": _IN_ADDRESS,
    "push_notifications.queue.redis.sentinel_tls.enabled": _IN_ADDRESS,
}
"""Names that must not be ignored, and what would follow or what to do.

The rule: a name not built yet is a warning, unless a door that this release does
open (gRPC, the HTTP port, its database, its queue, its providers) would then admit
more, encrypt less or do more than its owner wrote. Guards of doors that are not
there at all (such as the admin password) are warnings.
"""


_ENGINE = "channels use engine.type"
_NO_MAPS = "map channels refuse everything"
_NO_LIMIT = "nothing is limited by it"
_NO_GRANT = "nothing is granted by it"

INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("broker.enabled", "broker.type", "brokers"), _ENGINE),
    **dict.fromkeys(
        ("presence_manager.enabled", "presence_manager.type", "presence_managers"),
        "presence is kept by engine.type",
    ),
    **dict.fromkeys(("map_broker.type", "map_brokers"), _NO_MAPS),
    **dict.fromkeys(
        ("controller.enabled", "controller.type"), "nodes meet through engine.type"
    ),
    **{
        f"client.rate_limit.{layer}.enabled": _NO_LIMIT
        for layer in (
            *("client_command", "user_command", "redis_user_command"),
            *("client_error", "ip_connect"),
        )
    },
    **{
        f"channel.without_namespace.{each}_cel": _NO_GRANT
        for each in ("subscribe", "publish", "history", "presence")
    },
}
"""For names that are not built: what applies instead, where its owner should know."""


SWITCHED_ON_BY: Mapping[str, str] = {
    "broker": "broker.enabled",
    "proxy_connect_endpoint": "client.proxy.connect.enabled",
}
"""Old names that implied what has a switch of its own today."""


IN_OTHER_UNITS: Mapping[str, Callable[[int], str]] = {
    "push_notifications.max_inactive_device_days": lambda days: f"{24 * days}h",
}
"""Old names whose value was a number in another unit; converts it to today's form."""


_OFF = frozenset({"", "false", "f", "0", "0s", "[]", "{}"})
_FIRST_WORD = re.compile(r"[^._]+[._]")


def _lines(name: str) -> list[str]:
    text = (files("tocsin.config") / "names" / name).read_text(encoding="utf-8")
    return text.splitlines()


@cache
def published() -> frozenset[str]:
    """Every name that the published server has, built here or not."""
    return frozenset(_lines("published.txt"))


@cache
def planned() -> frozenset[str]:
    """Our own names of releases to come."""
    return frozenset(_lines("planned.txt"))


@cache
def renamed() -> dict[str, str]:
    """Old name → today's."""
    return {row["old"]: row["new"] for row in csv.DictReader(_lines("renamed.csv"))}


@cache
def retired() -> dict[str, str]:
    """Names of older releases that have no equal today → what to write now."""
    return {row["old"]: row["now"] for row in csv.DictReader(_lines("retired.csv"))}


@cache
def _defaults() -> dict[str, str]:
    rows = csv.DictReader(_lines("defaults.csv"))
    return {row["path"]: row["default"] for row in rows}


def is_default(path: str, value: object) -> bool:
    """Whether a value is the published default, so that nobody asked for anything."""
    default = _defaults().get(path, "")
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        value = " ".join(value)
    if not isinstance(value, bool | int | float | str):
        return not value
    text = show_value(value) if isinstance(value, int) else str(value)
    text = text.lower()
    if text == default.lower():
        return True
    if not default:
        return text in _OFF
    try:
        return parse_duration(text) == parse_duration(default)
    except ValueError:
        return False


@cache
def known() -> frozenset[str]:
    """Names that are no error although nothing may be built for them."""
    return published() | planned()


@cache
def known_sections() -> frozenset[str]:
    """Every part before a dot in any known or old name."""
    return frozenset(sections_of([*known(), *renamed()]))


def sections_of(paths: Iterable[str]) -> set[str]:
    """Every proper prefix of the paths."""
    out: set[str] = set()
    for path in paths:
        parts = path.split(".")
        out.update(".".join(parts[:depth]) for depth in range(1, len(parts)))
    return out


def env_name(path: str) -> str:
    """The part of an environment variable after its prefix."""
    return path.upper().replace(".", "_").replace("-", "_")


def nearest(name: str, *tables: Collection[str]) -> str | None:
    """The closest name, from the first table that has one close enough."""
    name = name[:120]
    last = name.rpartition(".")[2]
    for table in tables:
        if found := difflib.get_close_matches(name, table, 5, 0.78):
            # Slips are rarely in the first word, so a close name that shares it wins.
            word = _FIRST_WORD.match(name)
            start = word[0] if word else name
            return next((each for each in found if each.startswith(start)), found[0])
        # A right word at a wrong place: `credentials_file` at the root.
        same = [path for path in table if path.rpartition(".")[2] == last]
        if len(same) == 1:
            return same[0]
    return None
