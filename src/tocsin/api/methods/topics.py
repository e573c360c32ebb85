"""API methods for device topics and user topics.

They translate and call `TopicService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api import convert
from tocsin.api.call import Call, Services
from tocsin.protocol import api_pb2


async def device_topic_list(
    services: Services,
    request: api_pb2.DeviceTopicListRequest,
    result: api_pb2.DeviceTopicListResult,
    _call: Call,
) -> None:
    """One page of device topics."""
    page = await services.topics.fetch_device_page(
        convert.device_topic_filter_from(request.filter),
        convert.paging_from(request),
        flat=convert.device_topic_filter_from(request),
        include_device=request.include_device,
    )
    convert.fill_device_topics(result, page, include_device=request.include_device)


async def device_topic_update(
    services: Services,
    request: api_pb2.DeviceTopicUpdateRequest,
    _result: api_pb2.DeviceTopicUpdateResult,
    _call: Call,
) -> None:
    """Change a device's own topics."""
    change = convert.topics_change_from(request)
    await services.topics.update_device(request.device_id, change, owner=request.user)


async def user_topic_list(
    services: Services,
    request: api_pb2.UserTopicListRequest,
    result: api_pb2.UserTopicListResult,
    _call: Call,
) -> None:
    """One page of user topics."""
    page = await services.topics.fetch_user_page(
        convert.user_topic_filter_from(request.filter),
        convert.paging_from(request),
        flat=convert.user_topic_filter_from(request),
    )
    convert.fill_user_topics(result, page)


async def user_topic_update(
    services: Services,
    request: api_pb2.UserTopicUpdateRequest,
    _result: api_pb2.UserTopicUpdateResult,
    _call: Call,
) -> None:
    """Change a user's topics."""
    change = convert.topics_change_from(request)
    await services.topics.update_user(request.user, change)
