"""Finds a channel's options for the server API. Part of `channels`.

It must not apply rules for clients: back ends may use any name.
"""

from __future__ import annotations

from tocsin.channels.namespaces import Namespaces
from tocsin.core.channel import ChannelOptions
from tocsin.core.errors import BadRequest, UnknownChannel

MUST_NOT_BE_EMPTY = "must not be empty"


def find_options(namespaces: Namespaces, channel: str) -> ChannelOptions:
    """The options; raises `UnknownChannel` for a namespace that is not configured."""
    options = namespaces.find(channel)
    if options is None:
        raise UnknownChannel(f"namespace {namespaces.namespace_of(channel)[:100]}")
    return options


def check_named(channel: str) -> None:
    """Raise `BadRequest` where a channel is needed and missing."""
    if not channel:
        raise BadRequest("channel", MUST_NOT_BE_EMPTY)
