"""Channels room: who is in a channel, as back ends ask for it.

It must not count connections itself; the presence store knows all nodes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.channels.lookup import check_named, find_options
from tocsin.channels.namespaces import Namespaces
from tocsin.core.channel import ClientInfo, PresenceStats
from tocsin.core.errors import NotAvailable
from tocsin.core.ports.channels import PresenceStore


class PresenceService:
    """Presence calls of the server API."""

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

    def _check(self, channel: str) -> None:
        check_named(channel)
        if not find_options(self._namespaces, channel).presence:
            raise NotAvailable("presence is off for this channel")
