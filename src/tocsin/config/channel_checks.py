"""Keys of the realtime corridor that contradict or miss each other. Part of `config`.

It must not read keys, patterns or tokens: who uses them says whether they are good.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tocsin.config.channel import ChannelOptionsSection
from tocsin.config.client import Token
from tocsin.config.durations import format_duration
from tocsin.config.redis_checks import find_redis_faults
from tocsin.config.showing import show_value

if TYPE_CHECKING:  # root imports the sections, checks import root
    from tocsin.config.root import Config

# Redis keeps these as whole seconds.
_DURATIONS = ("history_ttl", "history_meta_ttl")

Found = tuple[str, str, tuple[str, ...]]
"""Path, message, and the keys that the message depends on."""


def find_channel_faults(config: Config) -> Iterator[Found]:
    """Every fault between keys of channels, clients and the engine."""
    channel = config.channel
    without = "channel.without_namespace"
    for key, message in _check_options(channel.without_namespace, config):
        yield f"{without}.{key}", message, (without, "channel.history_meta_ttl")
    about = ("channel.namespaces", "channel.history_meta_ttl")
    seen: set[str] = set()
    for namespace in channel.namespaces:
        if namespace.name in seen:
            message = f'"{namespace.name}" is there twice'
            yield "channel.namespaces", message, about
        seen.add(namespace.name)
        for key, message in _check_options(namespace, config):
            yield f"channel.namespaces[{namespace.name}].{key}", message, about
    yield from _check_personal(config, seen)
    yield from _check_pings(config)
    for section in ("token", "subscription_token"):
        path = f"client.{section}"
        for key, message in _check_token(getattr(config.client, section)):
            yield f"{path}.{key}", message, (path,)
    yield from find_redis_faults(config)


def _check_options(
    options: ChannelOptionsSection, config: Config
) -> Iterator[tuple[str, str]]:
    size, ttl = options.history_size, options.history_ttl
    if (size > 0) != (ttl > 0):
        lacking, given = "history_ttl", "history_size"
        if ttl > 0:
            lacking, given = given, lacking
        yield lacking, f"must be set together with {given}"
    for key in _DURATIONS:
        if not float(getattr(options, key)).is_integer():
            yield key, "must be whole seconds"
    meta_ttl = options.history_meta_ttl or config.channel.history_meta_ttl
    if ttl > meta_ttl:
        words = format_duration(meta_ttl)
        yield "history_ttl", f"is more than history_meta_ttl, {words}"
    for key in ("force_recovery", "allow_recovery"):
        if getattr(options, key) and not (size and ttl):
            yield key, "needs history_size and history_ttl"
    is_cache = options.force_recovery and options.force_recovery_mode == "cache"
    if options.auto_cache_recover and not is_cache:
        yield (
            "auto_cache_recover",
            "needs force_recovery, and force_recovery_mode cache",
        )


def _check_personal(config: Config, names: set[str]) -> Iterator[Found]:
    section = "client.subscribe_to_user_personal_channel"
    personal = config.client.subscribe_to_user_personal_channel
    if not personal.enabled:
        return
    key = f"{section}.personal_channel_namespace"
    name = personal.personal_channel_namespace
    if name and name not in names:
        message = f"{show_value(name)} is not in channel.namespaces"
        yield key, message, (section, "channel.namespaces")
    if not config.channel.user_boundary:
        message = "needs channel.user_boundary"
        yield f"{section}.enabled", message, (section, "channel.user_boundary")


def _check_pings(config: Config) -> Iterator[Found]:
    client = config.client
    if client.ping_interval and client.pong_timeout >= client.ping_interval:
        yield (
            "client.pong_timeout",
            f"must be less than ping_interval, {format_duration(client.ping_interval)}",
            ("client.pong_timeout", "client.ping_interval"),
        )


def _check_token(token: Token) -> Iterator[tuple[str, str]]:
    for name in ("audience", "issuer"):
        if getattr(token, name) and getattr(token, f"{name}_regex"):
            yield f"{name}_regex", f"is set together with {name}; keep one"
    previous = token.hmac_previous_secret_key.get_secret_value()
    if previous and not token.hmac_secret_key.get_secret_value():
        yield "hmac_previous_secret_key", "needs hmac_secret_key, which comes after it"
