"""Channels room: who is in a channel, as back ends and clients ask for it.

It must not count connections itself; the presence store knows all nodes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.channels.namespaces import Namespaces, check_named
from tocsin.core.channel import ChannelOptions, ClientInfo, PresenceStats
from tocsin.core.client_codes import PERMISSION_DENIED, ClientFault
from tocsin.core.errors import NotAvailable
from tocsin.core.ports.channels import PresenceStore


class PresenceService:
    """Presence calls of the server API and of clients."""

    def __init__(self, namespaces: Namespaces, store: PresenceStore) -> None:
        self._namespaces = namespaces
        self._store = store

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        """Everybody in the channel by client id.

        Raises `BadRequest`, `UnknownChannel`, and `NotAvailable` without presence.
        """
        self._check(channel)
        return await self._store.fetch(channel)

    async def fetch_stats(self, channel: str) -> PresenceStats:
        """How many they are; raises as `fetch`."""
        self._check(channel)
        return await self._store.fetch_stats(channel)

    async def fetch_for_client(
        self, channel: str, *, user: str, subscribed: bool
    ) -> Mapping[str, ClientInfo]:
        """As `fetch`, for a client; raises `ClientFault` (103) where it may not."""
        self._check_client(channel, user, subscribed=subscribed)
        return await self._store.fetch(channel)

    async def fetch_stats_for_client(
        self, channel: str, *, user: str, subscribed: bool
    ) -> PresenceStats:
        """As `fetch_stats`, for a client; raises as `fetch_for_client`."""
        self._check_client(channel, user, subscribed=subscribed)
        return await self._store.fetch_stats(channel)

    def _check(self, channel: str) -> None:
        check_named(channel)
        _check_kept(self._namespaces.options_of(channel))

    def _check_client(self, channel: str, user: str, *, subscribed: bool) -> None:
        options = self._namespaces.options_for_client(channel)
        _check_kept(options)
        if not self._namespaces.may_read_presence(
            options, user=user, subscribed=subscribed
        ):
            raise ClientFault(PERMISSION_DENIED)


def _check_kept(options: ChannelOptions) -> None:
    if not options.presence:
        raise NotAvailable("presence is off for this channel")
