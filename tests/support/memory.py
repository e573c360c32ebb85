"""Ports over plain dictionaries, for tests of the rooms above storage and queue.

They keep the contracts of `core/ports/` that the services and the API lean on;
`writes` counts what changed anything, so that a test can say "nothing did".
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tocsin.core.device import (
    GLOBAL_USER,
    DeadToken,
    Detail,
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    DeviceTopic,
    DeviceTopicFilter,
    Page,
    PageRequest,
    ProviderTokens,
    Registration,
    RemovedFilter,
    RemovedGroup,
    TagsChange,
    TargetPage,
    TopicOp,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.errors import Conflict, NotFound
from tocsin.core.ids import new_id
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.sends import UID_TAKEN, UidClaim
from tocsin.core.webpush import make_target

Row = TypeVar("Row", Device, DeviceTopic, UserTopic)


class SystemClock:
    """The real time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def _page(rows: Iterable[Row], page: PageRequest) -> Page[Row]:
    ordered = sorted(rows, key=lambda row: row.id)
    rest = [row for row in ordered if row.id > page.cursor]
    items = rest[: page.limit]
    return Page(
        items=tuple(items),
        next_cursor=items[-1].id if len(rest) > len(items) else "",
        total=len(ordered) if page.include_total else None,
    )


def _in(value: str, allowed: Sequence[str]) -> bool:
    return not allowed or value in allowed


def _has_token(device: Device, groups: Sequence[ProviderTokens]) -> bool:
    return not groups or any(
        device.provider == group.provider and device.token in group.tokens
        for group in groups
    )


def _apply(topics: Iterable[str], change: TopicsChange) -> tuple[str, ...]:
    kept = dict.fromkeys(topics)
    if change.op is TopicOp.SET:
        kept = {}
    for topic in change.topics:
        if change.op is TopicOp.REMOVE:
            kept.pop(topic, None)
        else:
            kept[topic] = None
    return tuple(kept)


def _apply_tags(tags: Mapping[str, str], change: TagsChange) -> Mapping[str, str]:
    if change.op is TopicOp.SET:
        return dict(change.tags)
    if change.op is TopicOp.ADD:
        return {**tags, **change.tags}
    return {key: value for key, value in tags.items() if key not in change.tags}


@dataclass
class MemoryUserTopics:
    """The `UserTopicStore` port."""

    rows: dict[tuple[str, str], UserTopic] = field(default_factory=dict)
    writes: int = 0

    async def update(self, user: str, change: TopicsChange) -> None:
        self.writes += 1
        old = {topic for owner, topic in self.rows if owner == user}
        new = set(_apply(sorted(old), change))
        for topic in old - new:
            del self.rows[user, topic]
        for topic in sorted(new - old):
            self.rows[user, topic] = UserTopic(new_id("user_topic"), user, topic)

    async def fetch_page(
        self, filter: UserTopicFilter, page: PageRequest
    ) -> Page[UserTopic]:
        rows = [
            row
            for row in self.rows.values()
            if _in(row.user, filter.users)
            and _in(row.topic, filter.topics)
            and row.topic.startswith(filter.topic_prefix)
        ]
        return _page(rows, page)

    def of(self, user: str) -> tuple[str, ...]:
        """What a device of that user holds besides its own topics."""
        return tuple(
            topic for owner, topic in self.rows if owner in {user, GLOBAL_USER}
        )


@dataclass
class MemoryDevices:
    """The `DeviceStore` port, without origins of topics."""

    user_topics: MemoryUserTopics = field(default_factory=MemoryUserTopics)
    rows: dict[str, Device] = field(default_factory=dict)
    writes: int = 0

    async def register(self, registration: Registration) -> str:
        self.writes += 1
        pair = (registration.provider, registration.token)
        same = [d.id for d in self.rows.values() if (d.provider, d.token) == pair]
        id = registration.id if registration.id in self.rows else ""
        for other in same:
            if id and other != id:
                del self.rows[other]
        id = id or (same[0] if same else new_id(registration.provider))
        now = time.time_ns() // 1_000_000_000
        known = self.rows.get(id)
        topics = dict.fromkeys(
            (*registration.topics, *self.user_topics.of(registration.user))
        )
        self.rows[id] = Device(
            id=id,
            provider=registration.provider,
            token=registration.token,
            platform=registration.platform,
            user=registration.user,
            meta=dict(registration.meta),
            tags=dict(registration.tags),
            topics=tuple(topics),
            timezone=registration.timezone,
            locale=registration.locale,
            integration=registration.integration,
            webpush_keys=registration.webpush_keys,
            created_at=known.created_at if known else now,
            updated_at=now,
        )
        return id

    async def update(
        self,
        selector: DeviceSelector,
        change: DeviceChange,
        *,
        switch_user_topics: bool,
    ) -> int:
        self.writes += 1
        selected = self._selected(selector)
        for device in selected:
            topics = device.topics
            if change.user is not None and switch_user_topics:
                gone = set(self.user_topics.of(device.user))
                own = [topic for topic in topics if topic not in gone]
                topics = (*own, *self.user_topics.of(change.user))
            if change.topics is not None:
                topics = _apply(topics, change.topics)
            tags = device.tags
            if change.tags is not None:
                tags = _apply_tags(tags, change.tags)
            self.rows[device.id] = replace(
                device,
                topics=topics,
                tags=tags,
                user=device.user if change.user is None else change.user,
                meta=device.meta if change.meta is None else change.meta,
                timezone=change.timezone or device.timezone,
                locale=change.locale or device.locale,
            )
        return len(selected)

    async def remove(self, selector: DeviceSelector) -> int:
        self.writes += 1
        selected = self._selected(selector)
        for device in selected:
            del self.rows[device.id]
        return len(selected)

    def _selected(self, selector: DeviceSelector) -> list[Device]:
        return [
            device
            for device in self.rows.values()
            if _in(device.id, selector.ids)
            and _in(device.user, selector.users)
            and _has_token(device, selector.provider_tokens)
        ]

    async def fetch_page(
        self,
        filter: DeviceFilter,
        page: PageRequest,
        *,
        include_topics: bool = False,
    ) -> Page[Device]:
        rows = [
            device if include_topics else replace(device, topics=())
            for device in self.rows.values()
            if self._matches(device, filter)
        ]
        return _page(rows, page)

    def _matches(self, device: Device, filter: DeviceFilter) -> bool:
        return (
            _in(device.id, filter.ids)
            and _in(device.user, filter.users)
            and _in(device.provider, filter.providers)
            and _in(device.platform, filter.platforms)
            and _in(device.integration or device.provider, filter.integrations)
            and _has_token(device, filter.provider_tokens)
            and (not filter.topics or bool({*filter.topics} & {*device.topics}))
            and all(device.tags.get(key) == filter.tags[key] for key in filter.tags)
        )

    async def update_topics(
        self, device_id: str, change: TopicsChange, *, owner: str = ""
    ) -> None:
        device = self.rows.get(device_id)
        if device is None:
            raise NotFound("device_id")
        if owner and owner != device.user:
            raise Conflict("user: is not the owner of the device")
        self.writes += 1
        self.rows[device_id] = replace(device, topics=_apply(device.topics, change))

    async def fetch_topic_page(
        self,
        filter: DeviceTopicFilter,
        page: PageRequest,
        *,
        include_device: bool = False,
    ) -> Page[DeviceTopic]:
        rows = [
            DeviceTopic(
                # An id of its own, so that a device's rows page one by one.
                id=f"{device.id[:20]}{index:04d}",
                device_id=device.id,
                topic=topic,
                device=device if include_device else None,
            )
            for device in self.rows.values()
            if _in(device.id, filter.device_ids)
            and _in(device.user, filter.device_users)
            and _in(device.provider, filter.device_providers)
            and _in(device.platform, filter.device_platforms)
            and _has_token(device, filter.device_provider_tokens)
            for index, topic in enumerate(sorted(device.topics))
            if _in(topic, filter.topics) and topic.startswith(filter.topic_prefix)
        ]
        return _page(rows, page)

    async def fetch_targets(
        self,
        filter: DeviceFilter,
        *,
        provider: str,
        cursor: str,
        limit: int,
        details: Collection[Detail] = (),
    ) -> TargetPage:
        page = _page(
            (
                device
                for device in self.rows.values()
                if device.provider == provider and self._matches(device, filter)
            ),
            PageRequest(cursor=cursor, limit=limit),
        )
        return TargetPage(
            device_ids=[device.id for device in page.items],
            tokens=[
                make_target(device.token, device.webpush_keys)
                if provider == "webpush"
                else device.token
                for device in page.items
            ],
            platforms=[device.platform for device in page.items],
            cursor=page.next_cursor,
        )

    async def remove_dead(self, dead: Sequence[DeadToken]) -> list[str]:
        raise NotImplementedError("the API removes no dead tokens")

    async def remove_inactive(
        self, *, older_than_ms: int, limit: int
    ) -> Mapping[str, int]:
        raise NotImplementedError("the API removes no inactive devices")

    async def purge_removed(self, *, older_than_ms: int, limit: int) -> int:
        raise NotImplementedError("the API purges nothing")

    async def count_removed(self, filter: RemovedFilter) -> list[RemovedGroup]:
        raise NotImplementedError("the API removes softly nowhere")

    async def restore_removed(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        raise NotImplementedError("the API restores nothing")


@dataclass
class Claimed:
    """A uid that somebody took, until its time is over."""

    fingerprint: bytes
    push_id: str
    expires_ms: int
    accepted: bool = False
    epoch: str = ""


class MemoryUids:
    """The `UidStore` port; `failures` are raised by the next calls of `confirm`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.claims: dict[str, Claimed] = {}
        self.failures: list[Exception] = []

    @property
    def confirmed(self) -> set[str]:
        """The uids whose work is queued."""
        return {uid for uid, claim in self.claims.items() if claim.accepted}

    def left_s(self, uid: str) -> float:
        """How long a uid is remembered from now on."""
        return (self.claims[uid].expires_ms - self._clock.now_ms()) / 1000

    async def claim(
        self, uid: str, *, fingerprint: bytes, push_id: str, ttl_s: float
    ) -> UidClaim:
        now_ms = self._clock.now_ms()
        standing = self.claims.get(uid)
        if standing is None or standing.expires_ms <= now_ms:
            expires_ms = now_ms + int(ttl_s * 1000)
            standing = Claimed(fingerprint, push_id, expires_ms)
            if ttl_s:
                self.claims[uid] = standing
        if standing.fingerprint != fingerprint:
            raise Conflict(UID_TAKEN)
        return UidClaim(standing.push_id, standing.accepted, standing.epoch)

    async def confirm(self, uid: str, *, epoch: str = "") -> None:
        if self.failures:
            raise self.failures.pop(0)
        if (claim := self.claims.get(uid)) is not None:
            claim.accepted, claim.epoch = True, epoch

    async def purge_expired(self, *, limit: int) -> int:
        now_ms = self._clock.now_ms()
        over = [uid for uid, one in self.claims.items() if one.expires_ms <= now_ms]
        for uid in over[:limit]:
            del self.claims[uid]
        return len(over[:limit])
