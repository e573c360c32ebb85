"""Channels room: streams as back ends read and clear them.

It must not cap what a back end asks for; clients have their own limit.
"""

from __future__ import annotations

from tocsin.channels.lookup import check_named, find_options
from tocsin.channels.namespaces import Namespaces
from tocsin.core.channel import ChannelOptions, History, HistoryFilter
from tocsin.core.errors import NotAvailable
from tocsin.core.ports.channels import Broker


class HistoryService:
    """History calls of the server API."""

    def __init__(self, namespaces: Namespaces, broker: Broker) -> None:
        self._namespaces = namespaces
        self._broker = broker

    async def fetch(self, channel: str, filter: HistoryFilter) -> History:
        """Read a channel's stream.

        Raises `BadRequest`, for `reverse` from offset 0 too, `UnknownChannel`,
        `NotAvailable` without history, and `UnrecoverablePosition` for another epoch.
        """
        options = self._find_kept(channel)
        return await self._broker.fetch_history(
            channel, filter, meta_ttl_s=options.history_meta_ttl
        )

    async def remove(self, channel: str) -> None:
        """Delete the publications; the position stays. Raises as `fetch`."""
        self._find_kept(channel)
        await self._broker.remove_history(channel)

    def _find_kept(self, channel: str) -> ChannelOptions:
        check_named(channel)
        options = find_options(self._namespaces, channel)
        if not options.keeps_history:
            raise NotAvailable("history is off for this channel")
        return options
