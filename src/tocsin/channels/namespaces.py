"""Channels room: which options a channel has and what its users may do there.

Pure rules over the configured namespaces; it must not open, fetch or publish. Every
call about a channel comes here first: `options_of` refuses a type of channel that this
release does not serve.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tocsin.channels.patterns import compile_pattern
from tocsin.core.channel import ChannelOptions
from tocsin.core.errors import BadRequest, NotAvailable, UnknownChannel

MUST_NOT_BE_EMPTY = "must not be empty"
DEFAULT_META_TTL_S = 720 * 3600
_BUILT_TYPES = frozenset({"", "stream"})


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """`channel.*` of the configuration. An empty boundary or prefix is off.

    `history_meta_ttl` is in seconds, `max_length` in bytes. `personal` gives each user
    a channel of their own, in `personal_namespace`.
    """

    without_namespace: ChannelOptions = field(default_factory=ChannelOptions)
    namespaces: Mapping[str, ChannelOptions] = field(default_factory=dict)
    history_meta_ttl: int = DEFAULT_META_TTL_S
    publication_data_format: str = ""
    max_length: int = 255
    private_prefix: str = "$"
    namespace_boundary: str = ":"
    user_boundary: str = "#"
    user_separator: str = ","
    personal: bool = False
    personal_namespace: str = ""


class Namespaces:
    """Answers for every channel name; `replace` swaps all rules at once.

    With `insecure` a client needs no permission; what a namespace has switched off,
    such as history, stays off.
    """

    def __init__(
        self, settings: NamespaceSettings | None = None, *, insecure: bool = False
    ) -> None:
        self._insecure = insecure
        self.replace(settings or NamespaceSettings())

    def replace(self, settings: NamespaceSettings) -> None:
        """Use other rules from now on; raises `ValueError` for a bad pattern."""
        # All is made before anything is set: after an error the old rules hold.
        options = {
            name: _resolve(each, settings) for name, each in settings.namespaces.items()
        }
        default = _resolve(settings.without_namespace, settings)
        patterns = {
            each.channel_regex: compile_pattern(each.channel_regex)
            for each in (default, *options.values())
            if each.channel_regex
        }
        self._settings = settings
        self._patterns: Mapping[str, re.Pattern[str]] = patterns
        # Only types that are served are kept here, so that a publish needs one look-up.
        self._default = default if _is_built(default) else None
        self._options = {
            name: each for name, each in options.items() if _is_built(each)
        }
        self._prefix = settings.private_prefix
        self._boundary = settings.namespace_boundary

    @property
    def settings(self) -> NamespaceSettings:
        """What the rules are made of."""
        return self._settings

    def options_of(self, channel: str) -> ChannelOptions:
        """The options of a channel, whoever asks.

        Raises `UnknownChannel` where its namespace is not configured, `NotAvailable`
        where its type is not built.
        """
        boundary, prefix = self._boundary, self._prefix
        options = self._default
        if boundary and boundary in channel:
            # As `_split`, written out: every publish comes through here.
            trimmed = channel.removeprefix(prefix) if prefix else channel
            name, found, _ = trimmed.partition(boundary)
            if found and name:
                options = self._options.get(name)
        if options is None:
            raise self._refusal(channel)
        return options

    def _refusal(self, channel: str) -> UnknownChannel | NotAvailable:
        settings, name = self._settings, self.namespace_of(channel)
        options = settings.namespaces.get(name) if name else settings.without_namespace
        if options is None:
            return UnknownChannel(f"namespace {name[:100]}")
        return NotAvailable(f"channels of type {options.subscription_type}")

    def options_for_client(self, channel: str) -> ChannelOptions:
        """As `options_of`; raises `BadRequest` too for a name not for clients."""
        options = self.options_of(channel)
        if not self.is_name_allowed(channel, options):
            raise BadRequest("channel", "is no name for clients")
        return options

    def namespace_of(self, channel: str) -> str:
        """The namespace's name; empty for a channel without one."""
        return self._split(channel)[0]

    def is_private(self, channel: str) -> bool:
        """Whether a client needs a subscription token whatever the options are."""
        return bool(self._prefix) and channel.startswith(self._prefix)

    def is_user_limited(self, channel: str, options: ChannelOptions) -> bool:
        """Whether the name itself lists who may subscribe."""
        boundary = self._settings.user_boundary
        return (
            options.allow_user_limited_channels
            and bool(boundary)
            and boundary in channel
        )

    def is_user_listed(self, channel: str, user: str) -> bool:
        """Whether a user-limited channel's name lists the user; never an anonymous one.

        The list is what follows the last boundary.
        """
        settings = self._settings
        listed = channel.rpartition(settings.user_boundary)[2]
        if not user:
            return False
        if not settings.user_separator:
            return listed == user
        return user in listed.split(settings.user_separator)

    def is_name_allowed(self, channel: str, options: ChannelOptions) -> bool:
        """Whether client commands may hold the name: it fits a pattern, or is ASCII.

        The pattern is searched in the part behind the namespace, as Go does.
        """
        if not options.channel_regex:
            return channel.isascii()
        pattern = self._patterns.get(options.channel_regex)
        if pattern is None:  # the caller got its options before a reload
            pattern = compile_pattern(options.channel_regex)
        return pattern.search(self._split(channel)[1]) is not None

    def is_too_long(self, channel: str) -> bool:
        """Whether a client may not use a name because of its length."""
        limit = self._settings.max_length
        # A name from JSON may hold half of a surrogate pair, which must not raise here.
        return limit > 0 and len(channel.encode("utf-8", "surrogatepass")) > limit

    def personal_channel(self, user: str) -> str | None:
        """The channel that a user is subscribed to at connect, or `None`."""
        settings = self._settings
        if not settings.personal or not user:
            return None
        name = f"{settings.user_boundary}{user}"
        if not settings.personal_namespace:
            return name
        return f"{settings.personal_namespace}{self._boundary}{name}"

    def may_subscribe(self, channel: str, options: ChannelOptions, user: str) -> bool:
        """Whether a client may subscribe without a subscription token."""
        if self.is_private(channel):
            return False
        if self.is_user_limited(channel, options):
            return self.is_user_listed(channel, user) or self._insecure
        allowed = options.allow_subscribe_for_client and (
            bool(user) or options.allow_subscribe_for_anonymous
        )
        return allowed or self._insecure

    def may_publish(
        self, options: ChannelOptions, *, user: str, subscribed: bool
    ) -> bool:
        """Whether a client may publish."""
        allowed = options.allow_publish_for_client or (
            options.allow_publish_for_subscriber and subscribed
        )
        known = bool(user) or options.allow_publish_for_anonymous
        return (allowed and known) or self._insecure

    def may_read_history(
        self, options: ChannelOptions, *, user: str, subscribed: bool
    ) -> bool:
        """Whether a client may read the channel's history."""
        allowed = options.allow_history_for_client or (
            options.allow_history_for_subscriber and subscribed
        )
        known = bool(user) or options.allow_history_for_anonymous
        return (allowed and known) or self._insecure

    def may_read_presence(
        self, options: ChannelOptions, *, user: str, subscribed: bool
    ) -> bool:
        """Whether a client may see who is in the channel."""
        allowed = options.allow_presence_for_client or (
            options.allow_presence_for_subscriber and subscribed
        )
        known = bool(user) or options.allow_presence_for_anonymous
        return (allowed and known) or self._insecure

    def _split(self, channel: str) -> tuple[str, str]:
        """The namespace and the rest; without a boundary `""` and the whole name."""
        trimmed = channel.removeprefix(self._prefix) if self._prefix else channel
        if not self._boundary:
            return "", channel
        namespace, boundary, rest = trimmed.partition(self._boundary)
        return (namespace, rest) if boundary else ("", channel)


def check_named(channel: str) -> None:
    """Raise `BadRequest` where a channel is needed and missing."""
    if not channel:
        raise BadRequest("channel", MUST_NOT_BE_EMPTY)


def _is_built(options: ChannelOptions) -> bool:
    return options.subscription_type in _BUILT_TYPES


def _resolve(options: ChannelOptions, settings: NamespaceSettings) -> ChannelOptions:
    """Options with what they inherit from the section above."""
    return replace(
        options,
        history_meta_ttl=options.history_meta_ttl or settings.history_meta_ttl,
        force_recovery_mode=options.force_recovery_mode or "stream",
        publication_data_format=options.publication_data_format
        or settings.publication_data_format,
    )
