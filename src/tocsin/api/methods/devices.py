"""API methods for devices: register, update, remove, list.

They translate and call `DeviceService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api import convert
from tocsin.api.call import Call, Services
from tocsin.protocol import api_pb2


async def device_register(
    services: Services,
    request: api_pb2.DeviceRegisterRequest,
    result: api_pb2.DeviceRegisterResult,
    _call: Call,
) -> None:
    """Create or overwrite a device."""
    result.id = await services.devices.register(convert.registration_from(request))


async def device_update(
    services: Services,
    request: api_pb2.DeviceUpdateRequest,
    _result: api_pb2.DeviceUpdateResult,
    _call: Call,
) -> None:
    """Change selected devices."""
    selector = convert.selector_from(request)
    await services.devices.update(selector, convert.change_from(request))


async def device_remove(
    services: Services,
    request: api_pb2.DeviceRemoveRequest,
    _result: api_pb2.DeviceRemoveResult,
    _call: Call,
) -> None:
    """Delete selected devices."""
    await services.devices.remove(convert.selector_from(request))


async def device_list(
    services: Services,
    request: api_pb2.DeviceListRequest,
    result: api_pb2.DeviceListResult,
    _call: Call,
) -> None:
    """One page of devices."""
    page = await services.devices.fetch_page(
        convert.device_filter_from(request.filter),
        convert.paging_from(request),
        flat=convert.flat_device_filter_from(request),
        include_topics=request.include_topics,
    )
    convert.fill_devices(result, page, request)
