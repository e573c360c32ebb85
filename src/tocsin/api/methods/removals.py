"""API methods for removals of devices that wait for a person.

They translate and call `RemovalService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.convert_admin import removal_filter_from
from tocsin.protocol import admin_pb2


async def list_removals(
    services: Services,
    request: admin_pb2.ListRemovalsRequest,
    result: admin_pb2.ListRemovalsResult,
    _call: Call,
) -> None:
    """Held devices that fit a filter, counted."""
    chosen = removal_filter_from(request.filter)
    for group in await services.operators.removals.list(chosen):
        result.groups.add(
            provider=group.provider,
            integration=group.integration or group.provider,
            reason=group.reason,
            devices=group.count,
        )
        result.devices += group.count


async def approve_removals(
    services: Services,
    request: admin_pb2.ApproveRemovalsRequest,
    result: admin_pb2.ApproveRemovalsResult,
    call: Call,
) -> None:
    """Remove those that fit."""
    result.removed = await services.operators.removals.approve(
        removal_filter_from(request.filter), actor=call.actor, everything=request.all
    )


async def restore_removals(
    services: Services,
    request: admin_pb2.RestoreRemovalsRequest,
    result: admin_pb2.RestoreRemovalsResult,
    call: Call,
) -> None:
    """Let those that fit stay."""
    result.restored = await services.operators.removals.restore(
        removal_filter_from(request.filter), actor=call.actor, everything=request.all
    )
