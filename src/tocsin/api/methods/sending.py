"""API methods for sends, and for the reports of apps about them.

They translate and call `SendService` and `StatusService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.convert_send import send_request_from
from tocsin.core.errors import BadRequest
from tocsin.protocol import api_pb2
from tocsin.push.status import StatusReport


async def send_push_notification(
    services: Services,
    request: api_pb2.SendPushNotificationRequest,
    result: api_pb2.SendPushNotificationResult,
    call: Call,
) -> None:
    """Queue a send."""
    spelled = send_request_from(
        request,
        correlation_id=call.correlation_id,
        caller=call.caller.name,
        traceparent=call.traceparent,
    )
    result.uid = await services.sends.send(spelled.request, spelled=spelled.fields)


async def cancel_push(
    services: Services,
    request: api_pb2.CancelPushRequest,
    _result: api_pb2.CancelPushResult,
    _call: Call,
) -> None:
    """Cancel a send that waits for its time."""
    await services.sends.cancel(request.uid)


async def update_push_status(
    services: Services,
    request: api_pb2.UpdatePushStatusRequest,
    _result: api_pb2.UpdatePushStatusResult,
    _call: Call,
) -> None:
    """Take a report; `uid` is the older name of `analytics_uid`."""
    given, older = request.analytics_uid, request.uid
    if given and older and given != older:
        raise BadRequest("uid", "must equal analytics_uid when both are given")
    report = StatusReport(
        uid=given or older,
        status=request.status,
        device_id=request.device_id,
        msg_id=request.msg_id,
    )
    await services.statuses.update(report)
