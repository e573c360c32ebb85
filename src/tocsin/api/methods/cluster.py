"""API methods that ask all nodes: channels, connections, info; and rpc.

They translate and call `SurveyService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.methods.control import filter_from
from tocsin.core.channel import NodeInfo
from tocsin.core.errors import BadRequest, NotFound
from tocsin.core.surveys import ConnectionAnswer
from tocsin.protocol import api_pb2


async def channels(
    services: Services,
    request: api_pb2.ChannelsRequest,
    result: api_pb2.ChannelsResult,
    _call: Call,
) -> None:
    """Channels with subscribers."""
    counts = await services.channels.survey.count_channels(request.pattern)
    for channel, num_clients in counts.items():
        result.channels[channel].num_clients = num_clients


async def connections(
    services: Services,
    request: api_pb2.ConnectionsRequest,
    result: api_pb2.ConnectionsResult,
    _call: Call,
) -> None:
    """Connections of a user, or with certain labels."""
    has_filter = request.HasField("label_filter")
    found = await services.channels.survey.list_connections(
        request.user,
        expression=request.expression,
        label_filter=filter_from(request.label_filter) if has_filter else None,
    )
    for client, connection in found.items():
        _fill_connection(result.connections[client], connection)


async def info(
    services: Services,
    _request: api_pb2.InfoRequest,
    result: api_pb2.InfoResult,
    _call: Call,
) -> None:
    """All nodes."""
    for node in await services.channels.survey.list_nodes():
        _fill_node(result.nodes.add(), node)


async def rpc(
    _services: Services,
    request: api_pb2.RPCRequest,
    _result: api_pb2.RPCResult,
    _call: Call,
) -> None:
    """Call an extension of the server; this one has none, so every name is unknown."""
    if not request.method:
        raise BadRequest("method", "must not be empty")
    raise NotFound(f"method {request.method[:100]}")


def _fill_node(message: api_pb2.NodeResult, node: NodeInfo) -> None:
    message.uid = node.uid
    message.name = node.name
    message.version = node.version
    message.num_clients = node.num_clients
    message.num_users = node.num_users
    message.num_subs = node.num_subs
    message.num_channels = node.num_channels
    message.uptime = node.uptime_s
    if node.metrics:  # clients expect both of its fields, or none
        message.metrics.interval = node.metrics_interval_s
        message.metrics.items.update(node.metrics)


def _fill_connection(
    message: api_pb2.ConnectionInfo, connection: ConnectionAnswer
) -> None:
    message.user = connection.user
    message.app_name = connection.app_name
    message.app_version = connection.app_version
    message.transport = connection.transport
    message.protocol = connection.protocol
    message.connected_at_ms = connection.connected_at_ms
    message.ping_pong_latency_ms = connection.ping_pong_latency_ms
    message.labels.update(connection.labels)
    state = message.state
    for channel, source in connection.channels.items():
        state.channels[channel].source = source
    if connection.token is not None:
        state.connection_token.uid = connection.token.uid
        state.connection_token.issued_at = connection.token.issued_at
    for channel, token in connection.subscription_tokens.items():
        state.subscription_tokens[channel].uid = token.uid
        state.subscription_tokens[channel].issued_at = token.issued_at
    state.meta = connection.meta.encode()
