"""API methods for sends.

They translate and call `SendService`; they decide nothing.
"""

from __future__ import annotations

import time

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
    spelled = send_request_from(
        request, now_s=time.time(), correlation_id=call.correlation_id
    )
    result.uid = await services.sends.send(spelled.request, spelled=spelled.fields)
