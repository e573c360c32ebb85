"""Who is in a channel, in one process: exact, without times.

Part of the broker room; it knows no client but by its id.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.core.channel import ClientInfo, PresenceStats


class MemoryPresence:
    """`PresenceStore` in memory."""

    def __init__(self) -> None:
        self._channels: dict[str, dict[str, ClientInfo]] = {}

    async def add(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        self._channels.setdefault(channel, {})[info.client] = info

    async def remove(self, channel: str, client: str, user: str) -> None:  # noqa: ARG002 - the port's; Redis counts users by it
        """See the port."""
        clients = self._channels.get(channel)
        if clients is not None:
            clients.pop(client, None)
            if not clients:
                del self._channels[channel]

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        """See the port."""
        return dict(self._channels.get(channel, {}))

    async def fetch_stats(self, channel: str) -> PresenceStats:
        """See the port."""
        clients = self._channels.get(channel, {})
        return PresenceStats(len(clients), len({i.user for i in clients.values()}))
