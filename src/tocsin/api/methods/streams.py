"""API methods for a channel's history and presence.

They translate and call `HistoryService` and `PresenceService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.core.channel import ClientInfo, HistoryFilter, StreamPosition
from tocsin.protocol import api_pb2


async def history(
    services: Services,
    request: api_pb2.HistoryRequest,
    result: api_pb2.HistoryResult,
    _call: Call,
) -> None:
    """Read a stream."""
    since = None
    if request.HasField("since"):
        since = StreamPosition(request.since.offset, request.since.epoch)
    wanted = HistoryFilter(request.limit, since, request.reverse)
    found = await services.channels.history.fetch(request.channel, wanted)
    result.offset = found.top.offset
    result.epoch = found.top.epoch
    for publication in found.publications:
        item = result.publications.add(
            data=publication.data, offset=publication.offset, tags=publication.tags
        )
        if publication.info is not None:
            fill_client(item.info, publication.info)


async def history_remove(
    services: Services,
    request: api_pb2.HistoryRemoveRequest,
    _result: api_pb2.HistoryRemoveResult,
    _call: Call,
) -> None:
    """Delete a stream's publications."""
    await services.channels.history.remove(request.channel)


async def presence(
    services: Services,
    request: api_pb2.PresenceRequest,
    result: api_pb2.PresenceResult,
    _call: Call,
) -> None:
    """Who is in a channel."""
    found = await services.channels.presence.fetch(request.channel)
    for client, info in found.items():
        fill_client(result.presence[client], info)


async def presence_stats(
    services: Services,
    request: api_pb2.PresenceStatsRequest,
    result: api_pb2.PresenceStatsResult,
    _call: Call,
) -> None:
    """How many are in a channel."""
    stats = await services.channels.presence.fetch_stats(request.channel)
    result.num_clients = stats.num_clients
    result.num_users = stats.num_users


def fill_client(message: api_pb2.ClientInfo, info: ClientInfo) -> None:
    """Write one connection as others see it."""
    message.user = info.user
    message.client = info.client
    message.conn_info = info.conn_info
    message.chan_info = info.chan_info
