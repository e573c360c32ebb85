"""API room: protobuf messages ⇄ core nouns for devices and topics.

Where the API has an older and a newer form of a field, both are read here and nowhere
else. Rules are checked in the services, but for those that the nouns cannot express.
"""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.core.device import (
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    DeviceTopic,
    DeviceTopicFilter,
    Page,
    ProviderTokens,
    Registration,
    TagsChange,
    TopicOp,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.protocol import api_pb2
from tocsin.push.checks import Paging, parse_op


def registration_from(request: api_pb2.DeviceRegisterRequest) -> Registration:
    """The whole state of a device."""
    return Registration(
        id=request.id,
        provider=request.provider,
        token=request.token,
        platform=request.platform,
        user=request.user,
        meta=dict(request.meta),
        tags=dict(request.tags),
        topics=tuple(request.topics),
        timezone=request.timezone,
        locale=request.locale,
        integration=request.integration,
    )


def provider_tokens_from(
    groups: Iterable[api_pb2.ProviderTokens],
) -> tuple[ProviderTokens, ...]:
    """Tokens by provider, in the order given."""
    return tuple(ProviderTokens(g.provider, tuple(g.tokens)) for g in groups)


def selector_from(
    request: api_pb2.DeviceUpdateRequest | api_pb2.DeviceRemoveRequest,
) -> DeviceSelector:
    """The devices that an update or a removal is for."""
    return DeviceSelector(
        ids=tuple(request.ids),
        users=tuple(request.users),
        provider_tokens=provider_tokens_from(request.provider_tokens),
    )


def change_from(request: api_pb2.DeviceUpdateRequest) -> DeviceChange:
    """What an update sets: exactly the parts that are present.

    In the oldest form the topics and tags parts have no `op`; it means `set`.
    """
    has = request.HasField
    topics = tags = None
    if has("topics_update"):
        part = request.topics_update
        op = parse_op("topics_update.op", part.op, TopicOp.SET)
        topics = TopicsChange(op, tuple(part.topics))
    if has("tags_update"):
        op = parse_op("tags_update.op", request.tags_update.op, TopicOp.SET)
        tags = TagsChange(op, dict(request.tags_update.tags))
    return DeviceChange(
        user=request.user_update.user if has("user_update") else None,
        meta=dict(request.meta_update.meta) if has("meta_update") else None,
        tags=tags,
        topics=topics,
        timezone=request.timezone_update.timezone if has("timezone_update") else None,
        locale=request.locale_update.locale if has("locale_update") else None,
    )


def topics_change_from(
    request: api_pb2.DeviceTopicUpdateRequest | api_pb2.UserTopicUpdateRequest,
) -> TopicsChange:
    """The operation of a topic update, whose `op` is required."""
    return TopicsChange(parse_op("op", request.op), tuple(request.topics))


def paging_from(
    request: api_pb2.DeviceListRequest
    | api_pb2.DeviceTopicListRequest
    | api_pb2.UserTopicListRequest,
) -> Paging:
    """Which page of a listing; `since` is the older name of `cursor`."""
    return Paging(
        cursor=request.cursor,
        since=request.since,
        limit=request.limit,
        include_total=request.include_total_count,
    )


def device_filter_from(filter: api_pb2.DeviceFilter) -> DeviceFilter:
    """The filter message."""
    return DeviceFilter(
        ids=tuple(filter.ids),
        users=tuple(filter.users),
        topics=tuple(filter.topics),
        providers=tuple(filter.providers),
        platforms=tuple(filter.platforms),
        provider_tokens=provider_tokens_from(filter.provider_tokens),
        tags=dict(filter.tags),
        integrations=tuple(filter.integrations),
    )


def flat_device_filter_from(request: api_pb2.DeviceListRequest) -> DeviceFilter:
    """The lists beside the filter message, which are the older form of it."""
    return DeviceFilter(
        ids=tuple(request.ids),
        users=tuple(request.users),
        topics=tuple(request.topics),
        providers=tuple(request.providers),
        platforms=tuple(request.platforms),
        provider_tokens=provider_tokens_from(request.provider_tokens),
    )


def device_topic_filter_from(
    source: api_pb2.DeviceTopicFilter | api_pb2.DeviceTopicListRequest,
) -> DeviceTopicFilter:
    """The filter message, or the lists of the same names beside it."""
    return DeviceTopicFilter(
        device_ids=tuple(source.device_ids),
        device_providers=tuple(source.device_providers),
        device_platforms=tuple(source.device_platforms),
        device_users=tuple(source.device_users),
        device_provider_tokens=provider_tokens_from(source.device_provider_tokens),
        topics=tuple(source.topics),
        topic_prefix=source.topic_prefix,
    )


def user_topic_filter_from(
    source: api_pb2.UserTopicFilter | api_pb2.UserTopicListRequest,
) -> UserTopicFilter:
    """The filter message, or the lists of the same names beside it."""
    return UserTopicFilter(
        users=tuple(source.users),
        topics=tuple(source.topics),
        topic_prefix=source.topic_prefix,
    )


def _fill_page(
    result: api_pb2.DeviceListResult
    | api_pb2.DeviceTopicListResult
    | api_pb2.UserTopicListResult,
    page: Page[Device] | Page[DeviceTopic] | Page[UserTopic],
) -> None:
    if page.next_cursor:
        result.next_cursor = page.next_cursor
        result.has_more = True
    if page.total is not None:
        result.total_count = page.total


def _fill_device(message: api_pb2.Device, device: Device) -> None:
    """Fill the fields that every listing returns."""
    message.id = device.id
    message.provider = device.provider
    message.token = device.token
    message.platform = device.platform
    message.created_at = device.created_at
    message.updated_at = device.updated_at
    message.user = device.user
    message.timezone = device.timezone
    message.locale = device.locale
    message.integration = device.integration


def fill_devices(
    result: api_pb2.DeviceListResult,
    page: Page[Device],
    request: api_pb2.DeviceListRequest,
) -> None:
    """A page of devices with the parts that the request asks for."""
    _fill_page(result, page)
    include_meta, include_tags = request.include_meta, request.include_tags
    include_topics = request.include_topics
    include_keys = request.include_webpush_keys
    for device in page.items:
        message = result.items.add()
        _fill_device(message, device)
        if include_meta:
            message.meta.update(device.meta)
        if include_tags:
            message.tags.update(device.tags)
        if include_topics:
            message.topics.extend(device.topics)
        if include_keys:
            message.webpush_keys = device.webpush_keys


def fill_device_topics(
    result: api_pb2.DeviceTopicListResult,
    page: Page[DeviceTopic],
    *,
    include_device: bool,
) -> None:
    """A page of device topics; the device's id is in both places where clients look."""
    _fill_page(result, page)
    for row in page.items:
        message = result.items.add()
        message.id = row.id
        message.topic = row.topic
        message.device_id = row.device_id
        if include_device and row.device is not None:
            _fill_device(message.device, row.device)
        else:
            message.device.id = row.device_id


def fill_user_topics(
    result: api_pb2.UserTopicListResult, page: Page[UserTopic]
) -> None:
    """A page of user topics."""
    _fill_page(result, page)
    for row in page.items:
        result.items.add(id=row.id, user=row.user, topic=row.topic)
