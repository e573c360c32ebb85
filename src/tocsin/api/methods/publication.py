"""API methods for publications: publish, broadcast.

They translate and call `Publisher`; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.api.call import Call, Services
from tocsin.api.errors import fill_error
from tocsin.channels.publishing import PublishRequest
from tocsin.core.errors import ApiError
from tocsin.protocol import api_pb2


async def publish(
    services: Services,
    request: api_pb2.PublishRequest,
    result: api_pb2.PublishResult,
    _call: Call,
) -> None:
    """Publish to one channel."""
    publisher = services.channels.publisher
    done = await publisher.publish(request.channel, _request_from(request))
    position = done.position
    if position.offset or position.epoch:
        result.offset = position.offset
        result.epoch = position.epoch


async def broadcast(
    services: Services,
    request: api_pb2.BroadcastRequest,
    result: api_pb2.BroadcastResult,
    _call: Call,
) -> None:
    """Publish the same to many channels."""
    publisher = services.channels.publisher
    for done in await publisher.broadcast(request.channels, _request_from(request)):
        reply = result.responses.add()
        if isinstance(done, ApiError):
            fill_error(reply.error, done)
        else:
            reply.result.offset = done.position.offset
            reply.result.epoch = done.position.epoch


_NO_TAGS: Mapping[str, str] = {}


def _request_from(
    request: api_pb2.PublishRequest | api_pb2.BroadcastRequest,
) -> PublishRequest:
    tags = request.tags
    return PublishRequest(
        request.data,
        request.b64data,
        request.skip_history,
        dict(tags) if tags else _NO_TAGS,
        request.idempotency_key,
        request.delta,
        request.version,
        request.version_epoch,
    )
