"""Channels room: reads a channel's history for back ends and clients, and clears it.

It must not limit the number of publications: sessions do so for clients.
"""

from __future__ import annotations

from tocsin.channels.namespaces import Namespaces, check_named
from tocsin.core.channel import ChannelOptions, History, HistoryFilter
from tocsin.core.client_codes import PERMISSION_DENIED, ClientFault
from tocsin.core.errors import NotAvailable
from tocsin.core.ports.channels import Broker


class HistoryService:
    """History calls of the server API and of clients."""

    def __init__(self, namespaces: Namespaces, broker: Broker) -> None:
        self._namespaces = namespaces
        self._broker = broker

    async def fetch(self, channel: str, filter: HistoryFilter) -> History:
        """Read a channel's stream.

        Raises `BadRequest`, for `reverse` from offset 0 too, `UnknownChannel`,
        `NotAvailable` without history, and `UnrecoverablePosition` for another epoch.
        """
        check_named(channel)
        return await self._fetch(
            channel, filter, self._kept(self._namespaces.options_of(channel))
        )

    async def fetch_for_client(
        self, channel: str, filter: HistoryFilter, *, user: str, subscribed: bool
    ) -> History:
        """As `fetch`, for a client; raises `ClientFault` (103) where it may not."""
        options = self._kept(self._namespaces.options_for_client(channel))
        if not self._namespaces.may_read_history(
            options, user=user, subscribed=subscribed
        ):
            raise ClientFault(PERMISSION_DENIED)
        return await self._fetch(channel, filter, options)

    async def remove(self, channel: str) -> None:
        """Delete the publications; the position stays. Raises as `fetch`."""
        check_named(channel)
        self._kept(self._namespaces.options_of(channel))
        await self._broker.remove_history(channel)

    async def _fetch(
        self, channel: str, filter: HistoryFilter, options: ChannelOptions
    ) -> History:
        return await self._broker.fetch_history(
            channel, filter, meta_ttl_s=options.history_meta_ttl
        )

    @staticmethod
    def _kept(options: ChannelOptions) -> ChannelOptions:
        if not options.keeps_history:
            raise NotAvailable("history is off for this channel")
        return options
