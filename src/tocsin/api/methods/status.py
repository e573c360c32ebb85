"""API methods for what apps report of a push.

They translate and call `StatusService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.core.errors import BadRequest
from tocsin.protocol import api_pb2
from tocsin.push.status import StatusReport


async def update_push_status(
    services: Services,
    request: api_pb2.UpdatePushStatusRequest,
    _result: api_pb2.UpdatePushStatusResult,
    _call: Call,
) -> None:
    """Take one report in."""
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
