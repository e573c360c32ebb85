"""Channels room: which options a channel has and what its users may do there.

Pure rules over the configured namespaces; it must not open, fetch or publish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tocsin.channels.patterns import compile_pattern
from tocsin.core.channel import ChannelOptions

DEFAULT_META_TTL_S = 720 * 3600


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """`channel.*` of the configuration. An empty boundary or prefix is off.

    `personal` turns on a channel of a user's own, in `personal_namespace`.
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
    """Answers for every channel name; `replace` swaps all rules at once."""

    def __init__(self, settings: NamespaceSettings | None = None) -> None:
        self.replace(settings or NamespaceSettings())

    def replace(self, settings: NamespaceSettings) -> None:
        """Use other rules from now on; raises `ValueError` for a bad pattern."""
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
        self._default = default
        self._options = options
        self._prefix = settings.private_prefix
        self._boundary = settings.namespace_boundary

    @property
    def settings(self) -> NamespaceSettings:
        """What the rules are made of."""
        return self._settings

    @property
    def max_length(self) -> int:
        """Bytes of a channel name that a client may use."""
        return self._settings.max_length

    def find(self, channel: str) -> ChannelOptions | None:
        """The options of a channel; `None` when its namespace is not configured."""
        boundary, prefix = self._boundary, self._prefix
        if not boundary or boundary not in channel:
            return self._default
        # As `_split`, which every publish would call through.
        trimmed = channel.removeprefix(prefix) if prefix else channel
        name, found, _ = trimmed.partition(boundary)
        return self._options.get(name) if found and name else self._default

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
        """Whether a user-limited channel names that user; nobody is never named."""
        settings = self._settings
        listed = channel.rpartition(settings.user_boundary)[2]
        if not user:
            return False
        if not settings.user_separator:
            return listed == user
        return user in listed.split(settings.user_separator)

    def is_name_allowed(self, channel: str, options: ChannelOptions) -> bool:
        """The rule for names in client commands: a pattern, or else ASCII."""
        if not options.channel_regex:
            return channel.isascii()
        pattern = self._patterns.get(options.channel_regex)
        if pattern is None:  # options from before a reload
            pattern = compile_pattern(options.channel_regex)
        return pattern.search(self._split(channel)[1]) is not None

    def is_too_long(self, channel: str) -> bool:
        """Whether a client may not use a name because of its length."""
        limit = self._settings.max_length
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

    def may_subscribe(
        self, channel: str, options: ChannelOptions, *, user: str, insecure: bool
    ) -> bool:
        """Whether a client may subscribe without a subscription token."""
        if self.is_private(channel):
            return False
        if self.is_user_limited(channel, options):
            return self.is_user_listed(channel, user) or insecure
        allowed = options.allow_subscribe_for_client and (
            bool(user) or options.allow_subscribe_for_anonymous
        )
        return allowed or insecure

    def may_publish(
        self,
        channel: str,  # noqa: ARG002 - all may_* are asked alike
        options: ChannelOptions,
        *,
        user: str,
        subscribed: bool,
        insecure: bool,
    ) -> bool:
        """Whether a client may publish."""
        allowed = options.allow_publish_for_client or (
            options.allow_publish_for_subscriber and subscribed
        )
        known = bool(user) or options.allow_publish_for_anonymous
        return (allowed and known) or insecure

    def may_read_history(
        self,
        channel: str,  # noqa: ARG002 - all may_* are asked alike
        options: ChannelOptions,
        *,
        user: str,
        subscribed: bool,
        insecure: bool,
    ) -> bool:
        """Whether a client may read the channel's history."""
        allowed = options.allow_history_for_client or (
            options.allow_history_for_subscriber and subscribed
        )
        known = bool(user) or options.allow_history_for_anonymous
        return (allowed and known) or insecure

    def may_read_presence(
        self,
        channel: str,  # noqa: ARG002 - all may_* are asked alike
        options: ChannelOptions,
        *,
        user: str,
        subscribed: bool,
        insecure: bool,
    ) -> bool:
        """Whether a client may see who is in the channel."""
        allowed = options.allow_presence_for_client or (
            options.allow_presence_for_subscriber and subscribed
        )
        known = bool(user) or options.allow_presence_for_anonymous
        return (allowed and known) or insecure

    def _split(self, channel: str) -> tuple[str, str]:
        """Namespace and the rest; the whole name is the rest where none is."""
        trimmed = channel.removeprefix(self._prefix) if self._prefix else channel
        if not self._boundary:
            return "", channel
        namespace, boundary, rest = trimmed.partition(self._boundary)
        return (namespace, rest) if boundary else ("", channel)


def _resolve(options: ChannelOptions, settings: NamespaceSettings) -> ChannelOptions:
    """Options with what they inherit from the section above."""
    return replace(
        options,
        history_meta_ttl=options.history_meta_ttl or settings.history_meta_ttl,
        force_recovery_mode=options.force_recovery_mode or "stream",
        publication_data_format=options.publication_data_format
        or settings.publication_data_format,
    )
