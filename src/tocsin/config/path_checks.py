"""Paths of the HTTP port that are taken twice. Part of `config`.

It must not know what is served there; it only compares what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # root imports the sections, checks import root
    from tocsin.config.root import Config

ADMIN_PREFIX = "/admin/api"
"""Where `AdminApi` is, beside the API."""

Found = tuple[str, str, tuple[str, ...]]
"""Path, message, and the keys that the message depends on."""


def find_path_faults(config: Config) -> Iterator[Found]:
    """Every path of the API or a client transport that something else has already."""
    if config.http_api.handler_prefix == ADMIN_PREFIX and not config.http_api.disabled:
        words = f"is {ADMIN_PREFIX}, where AdminApi is; the API needs another one"
        yield "http_api.handler_prefix", words, ("http_api", "admin")
    taken = dict(_of_back_ends(config))
    for section, path in _of_clients(config):
        if (other := taken.get(path)) is not None:
            key = f"{section}.handler_prefix"
            about = (section, other.partition(".")[0], "http_server")
            yield key, f"is {path}, as {other} is; they need one each", about
        else:
            taken[path] = f"{section}.handler_prefix"


def _of_back_ends(config: Config) -> Iterator[tuple[str, str]]:
    """What API, health and metrics have, where they share the clients' port."""
    http = config.http_server
    if http.internal_at != http.public_at:
        return
    if not config.http_api.disabled:
        yield config.http_api.handler_prefix or "/", "http_api.handler_prefix"
    if config.health.enabled:
        yield "/health", "health"
        yield "/ready", "health"
    if config.prometheus.enabled:
        yield "/metrics", "prometheus"


def _of_clients(config: Config) -> Iterator[tuple[str, str]]:
    websocket, sse, http_stream = config.websocket, config.sse, config.http_stream
    for name, section, is_on in (
        ("websocket", websocket, not websocket.disabled),
        ("uni_websocket", config.uni_websocket, config.uni_websocket.enabled),
        ("sse", sse, sse.enabled),
        ("http_stream", http_stream, http_stream.enabled),
        ("uni_sse", config.uni_sse, config.uni_sse.enabled),
        ("uni_http_stream", config.uni_http_stream, config.uni_http_stream.enabled),
        ("emulation", config.emulation, sse.enabled or http_stream.enabled),
        ("init", config.init, config.init.enabled),
        ("demo", config.demo, config.demo.enabled),
    ):
        if is_on:
            yield name, section.handler_prefix
