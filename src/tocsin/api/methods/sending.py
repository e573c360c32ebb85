"""API methods for sends.

They translate and call `SendService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.convert_send import send_request_from
from tocsin.protocol import api_pb2


async def send_push_notification(
    services: Services,
    request: api_pb2.SendPushNotificationRequest,
    result: api_pb2.SendPushNotificationResult,
    call: Call,
) -> None:
    """Queue a send."""
    spelled = send_request_from(request, correlation_id=call.correlation_id)
    result.uid = await services.sends.send(spelled.request, spelled=spelled.fields)


async def cancel_push(
    services: Services,
    request: api_pb2.CancelPushRequest,
    _result: api_pb2.CancelPushResult,
    _call: Call,
) -> None:
    """Take back a send that waits for its moment."""
    await services.sends.cancel(request.uid)
