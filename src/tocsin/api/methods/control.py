"""API methods that command connections: subscribe, unsubscribe, disconnect, refresh.

They translate and call `ControlService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.channels.control import EncodedParts
from tocsin.core.channel import StreamPosition
from tocsin.core.client_codes import FORCE_DISCONNECT, Disconnect
from tocsin.core.control import (
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.protocol import api_pb2

_OVERRIDES = (
    "presence",
    "join_leave",
    "force_recovery",
    "force_positioning",
    "force_push_join_leave",
)
_TargetRequest = (
    api_pb2.SubscribeRequest
    | api_pb2.UnsubscribeRequest
    | api_pb2.DisconnectRequest
    | api_pb2.RefreshRequest
)


async def subscribe(
    services: Services,
    request: api_pb2.SubscribeRequest,
    _result: api_pb2.SubscribeResult,
    _call: Call,
) -> None:
    """Subscribe connections to a channel."""
    since = request.recover_since
    command = SubscribeCommand(
        target=_target_from(request),
        channel=request.channel,
        info=request.info,
        data=request.data,
        expire_at=request.expire_at,
        recover_since=StreamPosition(since.offset, since.epoch)
        if request.HasField("recover_since")
        else None,
        overrides={
            name: getattr(request.override, name).value
            for name in _OVERRIDES
            if request.override.HasField(name)
        },
    )
    encoded = EncodedParts(b64info=request.b64info, b64data=request.b64data)
    await services.channels.control.subscribe(command, encoded)


async def unsubscribe(
    services: Services,
    request: api_pb2.UnsubscribeRequest,
    _result: api_pb2.UnsubscribeResult,
    _call: Call,
) -> None:
    """Unsubscribe connections from a channel."""
    command = UnsubscribeCommand(_target_from(request), request.channel)
    await services.channels.control.unsubscribe(command)


async def disconnect(
    services: Services,
    request: api_pb2.DisconnectRequest,
    _result: api_pb2.DisconnectResult,
    _call: Call,
) -> None:
    """Close connections."""
    why = FORCE_DISCONNECT
    if request.HasField("disconnect"):
        why = Disconnect(request.disconnect.code, request.disconnect.reason)
    command = DisconnectCommand(_target_from(request), why, tuple(request.whitelist))
    await services.channels.control.disconnect(command)


async def refresh(
    services: Services,
    request: api_pb2.RefreshRequest,
    _result: api_pb2.RefreshResult,
    _call: Call,
) -> None:
    """Move or end the expiry of connections."""
    command = RefreshCommand(
        target=_target_from(request),
        expired=request.expired,
        expire_at=request.expire_at,
        info=request.info,
    )
    await services.channels.control.refresh(command)


def filter_from(node: api_pb2.FilterNode) -> dict[str, object]:
    """A filter tree as plain values."""
    return {
        "op": node.op,
        "key": node.key,
        "cmp": node.cmp,
        "val": node.val,
        "vals": list(node.vals),
        "nodes": [filter_from(child) for child in node.nodes],
    }


def _target_from(request: _TargetRequest) -> Target:
    has_filter = request.HasField("label_filter")
    return Target(
        user=request.user,
        client=request.client,
        session=request.session,
        all_users=request.all_users,
        label_filter=filter_from(request.label_filter) if has_filter else None,
    )
