"""Push room: topics of devices and of users as callers manage them.

Checks requests and hands them to the stores. Who receives a push is decided by device
topics alone; the stores copy user topics onto devices.
"""

from __future__ import annotations

from tocsin.core.device import (
    DeviceTopic,
    DeviceTopicFilter,
    Page,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.errors import NotAvailable
from tocsin.core.ports.devices import DeviceStore, UserTopicStore
from tocsin.core.push_services import SERVICES
from tocsin.push import checks
from tocsin.push.checks import DeviceLimits, Paging
from tocsin.push.devices import NO_DATABASE


class TopicService:
    """Changes and lists device topics and user topics.

    Every method raises `BadRequest` naming the field, `NotAvailable` where no
    database is configured, and the errors that the stores' ports name.
    """

    def __init__(
        self,
        devices: DeviceStore | None,
        user_topics: UserTopicStore | None,
        limits: DeviceLimits,
    ) -> None:
        self._devices = devices
        self._user_topics = user_topics
        self._limits = limits

    async def update_device(
        self, device_id: str, change: TopicsChange, *, owner: str = ""
    ) -> None:
        """Change a device's own topics; with `owner`, only if that user owns it.

        An id that no server made is unknown, like one without a row: `NotFound`.
        """
        store = self._device_store()
        checks.check_text("device_id", device_id, checks.NAME_LENGTH)
        checks.check_text("user", owner, checks.NAME_LENGTH, required=False)
        change = checks.check_topics_change("topics", change, self._limits)
        await store.update_topics(device_id, change, owner=owner)

    async def fetch_device_page(
        self,
        filter: DeviceTopicFilter,
        paging: Paging,
        *,
        flat: DeviceTopicFilter | None = None,
        include_device: bool = False,
    ) -> Page[DeviceTopic]:
        """One page of device topics; `flat` as in `DeviceService.fetch_page`."""
        store = self._device_store()
        page = checks.check_page(paging, self._limits)
        joined = self._check_device_topics(filter, "filter.")
        if flat is not None:
            joined = _join_device_topics(joined, self._check_device_topics(flat, ""))
        return await store.fetch_topic_page(joined, page, include_device=include_device)

    async def update_user(self, user: str, change: TopicsChange) -> None:
        """Change a user's topics; the empty user stands for everybody."""
        store = self._user_topic_store()
        checks.check_text("user", user, checks.NAME_LENGTH, required=False)
        change = checks.check_topics_change("topics", change, self._limits)
        await store.update(user, change)

    async def fetch_user_page(
        self,
        filter: UserTopicFilter,
        paging: Paging,
        *,
        flat: UserTopicFilter | None = None,
    ) -> Page[UserTopic]:
        """One page of user topics; `flat` as in `DeviceService.fetch_page`."""
        store = self._user_topic_store()
        page = checks.check_page(paging, self._limits)
        joined = self._check_user_topics(filter, "filter.")
        if flat is not None:
            other = self._check_user_topics(flat, "")
            joined = UserTopicFilter(
                users=checks.merge(joined.users, other.users),
                topics=checks.merge(joined.topics, other.topics),
                topic_prefix=checks.join_prefix(
                    joined.topic_prefix, other.topic_prefix
                ),
            )
        return await store.fetch_page(joined, page)

    def _device_store(self) -> DeviceStore:
        if self._devices is None:
            raise NotAvailable(NO_DATABASE)
        return self._devices

    def _user_topic_store(self) -> UserTopicStore:
        if self._user_topics is None:
            raise NotAvailable(NO_DATABASE)
        return self._user_topics

    def _check_device_topics(
        self, filter: DeviceTopicFilter, prefix: str
    ) -> DeviceTopicFilter:
        self._check_prefix(prefix, filter.topic_prefix)
        return DeviceTopicFilter(
            device_ids=checks.check_texts(
                f"{prefix}device_ids", filter.device_ids, checks.NAME_LENGTH
            ),
            device_providers=checks.check_choices(
                f"{prefix}device_providers", filter.device_providers, SERVICES
            ),
            device_platforms=checks.read_platforms(
                f"{prefix}device_platforms", filter.device_platforms
            ),
            device_users=self._check_users(
                f"{prefix}device_users", filter.device_users
            ),
            device_provider_tokens=checks.check_provider_tokens(
                f"{prefix}device_provider_tokens",
                filter.device_provider_tokens,
                self._limits,
            ),
            topics=checks.check_texts(
                f"{prefix}topics", filter.topics, self._limits.topic_length
            ),
            topic_prefix=filter.topic_prefix,
        )

    def _check_user_topics(
        self, filter: UserTopicFilter, prefix: str
    ) -> UserTopicFilter:
        self._check_prefix(prefix, filter.topic_prefix)
        return UserTopicFilter(
            users=self._check_users(f"{prefix}users", filter.users),
            topics=checks.check_texts(
                f"{prefix}topics", filter.topics, self._limits.topic_length
            ),
            topic_prefix=filter.topic_prefix,
        )

    def _check_users(self, field: str, users: tuple[str, ...]) -> tuple[str, ...]:
        # An empty user may be looked for: it finds devices without an owner, and
        # topics that are bound to everybody.
        return checks.check_texts(field, users, checks.NAME_LENGTH, required=False)

    def _check_prefix(self, prefix: str, topic_prefix: str) -> None:
        checks.check_text(
            f"{prefix}topic_prefix",
            topic_prefix,
            self._limits.topic_length,
            required=False,
        )


def _join_device_topics(
    first: DeviceTopicFilter, second: DeviceTopicFilter
) -> DeviceTopicFilter:
    return DeviceTopicFilter(
        device_ids=checks.merge(first.device_ids, second.device_ids),
        device_providers=checks.merge(first.device_providers, second.device_providers),
        device_platforms=checks.merge(first.device_platforms, second.device_platforms),
        device_users=checks.merge(first.device_users, second.device_users),
        device_provider_tokens=first.device_provider_tokens
        + second.device_provider_tokens,
        topics=checks.merge(first.topics, second.topics),
        topic_prefix=checks.join_prefix(first.topic_prefix, second.topic_prefix),
    )
