"""The registry in memory: devices, topics, verdicts, uids and tickets for unit tests.

Each store keeps the contract of its port beside the ones on SQL (`tests/contracts/`).
`writes` counts calls that may change anything, so that a test can say "nothing did".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tocsin.core.clock import SystemClock
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
    TopicOp,
    TopicOrigin,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.errors import BadRequest, Conflict, NotFound
from tocsin.core.ids import is_id, new_id
from tocsin.core.ports.audit import UNENDED, AuditEntry, AuditFilter
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.devices import RecentVerdicts
from tocsin.core.ports.receipts import Ticket
from tocsin.core.ports.sends import UID_TAKEN, UidClaim
from tocsin.core.push import RecipientPage, Recipients
from tocsin.core.push_services import SERVICES
from tocsin.core.removals import (
    ALARM_EVERY_MS,
    RecentRemovals,
    Removal,
    RemovalGuard,
)
from tocsin.storage.topic_sets import (
    change_list,
    change_origin,
    check_count,
    check_own_count,
    topics_of,
)

Item = TypeVar("Item", Device, DeviceTopic, UserTopic)

KEPT_ANSWERS = 200
FORGOTTEN_AFTER_MS = 86_400_000


@dataclass
class _Row:
    """A device as a table has it; `device` is without topics."""

    device: Device
    registered_at_ms: int
    updated_at_ms: int
    topics: dict[str, TopicOrigin] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)
    removed_at_ms: int | None = None
    removed_reason: str = ""
    suspected_at_ms: int | None = None
    suspected_after: int = 0
    suspected_by: str = ""
    held_at_ms: int | None = None
    held_before_ms: int = 0
    held_reason: str = ""

    def hold(self, topics: Mapping[str, TopicOrigin]) -> None:
        """Have exactly these; a topic that stays keeps its id."""
        self.topics = dict(topics)
        self.topic_ids = {
            topic: self.topic_ids.get(topic) or new_id("device_topic")
            for topic in topics
        }

    def acquit(self) -> None:
        """Take the mark away."""
        self.suspected_at_ms, self.suspected_after, self.suspected_by = None, 0, ""

    def release(self) -> None:
        """End the hold."""
        self.held_at_ms, self.held_before_ms, self.held_reason = None, 0, ""

    @property
    def is_held(self) -> bool:
        """Whether its removal waits for a person."""
        return (
            self.held_at_ms is not None
            and self.removed_at_ms is None
            and self.registered_at_ms < self.held_before_ms
        )

    def is_meant(self, said: DeadToken) -> bool:
        """Whether this verdict is about what is registered now."""
        return (
            self.removed_at_ms is None
            and self.device.token == said.token
            and self.registered_at_ms < said.before_ms
        )


@dataclass
class MemoryRegistry:
    """What the stores share, as tables of one database."""

    rows: dict[str, _Row] = field(default_factory=dict)
    ids_by_token: dict[tuple[str, str], str] = field(default_factory=dict)
    bound: dict[tuple[str, str], UserTopic] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[RecentVerdicts, int]] = field(
        default_factory=dict
    )

    recent: dict[tuple[str, str], RecentRemovals] = field(default_factory=dict)
    reported: dict[tuple[str, str], int] = field(default_factory=dict)

    def remove_guarded(
        self,
        meant: list[tuple[_Row, DeadToken]],
        guard: RemovalGuard | None,
        now_ms: int,
    ) -> Removal:
        """Remove as many of these as the guard allows; hold the others."""
        allowed, is_alarm = len(meant), False
        if guard is not None:
            meant = [(row, said) for row, said in meant if not row.is_held]
            allowed = self._admit(guard, len(meant), now_ms)
            key = (guard.provider, guard.integration)
            if allowed < len(meant):
                told_ms = self.reported.get(key, 0)
                is_alarm = now_ms - told_ms >= ALARM_EVERY_MS
                self.reported[key] = now_ms if is_alarm else told_ms
        for row, said in meant[:allowed]:
            row.removed_at_ms, row.removed_reason = now_ms, said.reason
        for row, said in meant[allowed:]:
            row.held_at_ms, row.held_before_ms = now_ms, said.before_ms
            row.held_reason = said.reason
        ids = [said.device_id for _, said in meant]
        return Removal(ids[:allowed], ids[allowed:], is_alarm)

    def _admit(self, guard: RemovalGuard, wanted: int, now_ms: int) -> int:
        key = (guard.provider, guard.integration)
        belonging = DeviceFilter(
            providers=(guard.provider,), integrations=(guard.integration,)
        )
        living = [row for row in self.live() if _matches(row, belonging)]
        recent = self.recent.setdefault(key, RecentRemovals())
        used = recent.used(guard.limit, now_ms)
        allowed = guard.limit.allowed(used, wanted, len(living))
        if guard.limit.max_share < 1 and any(row.is_held for row in living):
            allowed = 0
        recent.add(guard.limit, now_ms, allowed)
        return allowed

    def live(self) -> list[_Row]:
        """Devices that are not removed, in id order."""
        rows = self.rows
        return [rows[id] for id in sorted(rows) if rows[id].removed_at_ms is None]

    def topics_of(self, user: str) -> list[str]:
        """What is bound to a user."""
        return [topic for owner, topic in self.bound if owner == user]

    def forget(self, id: str) -> None:
        """Delete a device."""
        device = self.rows.pop(id).device
        del self.ids_by_token[device.provider, device.token]


class MemoryUserTopics:
    """The `UserTopicStore` port."""

    def __init__(
        self, registry: MemoryRegistry | None = None, *, topics_per_user: int = 1000
    ) -> None:
        self.registry = registry or MemoryRegistry()
        self._limit = topics_per_user
        self.writes = 0

    async def update(self, user: str, change: TopicsChange) -> None:
        self.writes += 1
        bound = self.registry.bound
        old = self.registry.topics_of(user)
        new = change_list(old, change)
        if change.op is not TopicOp.REMOVE:
            check_count(new, self._limit)
        for topic in {*old} - {*new}:
            del bound[user, topic]
        for topic in new:
            if (user, topic) not in bound:
                bound[user, topic] = UserTopic(new_id("user_topic"), user, topic)
        if user == GLOBAL_USER:
            return
        for row in self.registry.live():
            if row.device.user == user:
                row.hold(change_origin(row.topics, change, TopicOrigin.USER))

    async def fetch_page(
        self, filter: UserTopicFilter, page: PageRequest
    ) -> Page[UserTopic]:
        rows = [
            row
            for row in self.registry.bound.values()
            if _in(row.user, filter.users)
            and _in(row.topic, filter.topics)
            and row.topic.startswith(filter.topic_prefix)
        ]
        return _page(rows, page)


class MemoryDevices:
    """The `DeviceStore` port.

    `faults` are raised by the next walks (`fetch_targets`), one each. What was asked is
    kept: `asked` are the details of walks, `dead` and `restored` what removals and
    restorations named, `limits` how much at a time, `edges` what counts as inactive.
    """

    def __init__(
        self,
        registry: MemoryRegistry | None = None,
        *,
        clock: Clock | None = None,
        topics_per_device: int = 1000,
    ) -> None:
        self.registry = registry or MemoryRegistry()
        self._clock = clock or SystemClock()
        self._limit = topics_per_device
        self.writes = 0
        self.faults: list[Exception] = []
        self.asked: list[list[Detail]] = []
        self.dead: list[DeadToken] = []
        self.restored: list[str] = []
        self.limits: list[int] = []
        self.edges: list[int] = []

    @property
    def rows(self) -> dict[str, Device]:
        """The live devices, as a listing with topics has them."""
        return {row.device.id: _shown(row) for row in self.registry.live()}

    def fill(self, count: int, provider: str = "fcm", **fields: Any) -> list[str]:
        """Register `token-0` and so on, under ids that sort as the numbers do."""
        ids = [f"{provider}-{number:06d}" for number in range(count)]
        for number, id in enumerate(ids):
            self.put(Registration(provider, f"token-{number}", "ios", **fields), id)
        return ids

    async def register(self, registration: Registration) -> str:
        self.writes += 1
        if registration.id and not is_id(registration.id):
            raise BadRequest("id", "was not made by this server; leave it out")
        check_count(registration.topics, self._limit)
        pair, rows = (registration.provider, registration.token), self.registry.rows
        holder = self.registry.ids_by_token.get(pair)
        id = registration.id if registration.id in rows else holder
        if holder is not None and holder != id:
            self.registry.forget(holder)
        self.put(registration, id or new_id(registration.provider))
        return self.registry.ids_by_token[pair]

    def put(self, registration: Registration, id: str) -> None:
        """Write a registration under this id, whatever it looks like."""
        registry, now_ms = self.registry, self._clock.now_ms()
        known = registry.rows.get(id)
        if known is not None:
            registry.forget(id)
        device = Device(
            id=id,
            provider=registration.provider,
            token=registration.token,
            platform=registration.platform,
            user=registration.user,
            meta=dict(registration.meta),
            tags=dict(registration.tags),
            timezone=registration.timezone,
            locale=registration.locale,
            integration=registration.integration,
            webpush_keys=registration.webpush_keys,
            created_at=known.device.created_at if known else now_ms // 1000,
        )
        row = _Row(device, now_ms, now_ms)
        row.topic_ids = known.topic_ids if known else {}
        user = registration.user
        of_user = registry.topics_of(user) if user != GLOBAL_USER else ()
        everybodys = registry.topics_of(GLOBAL_USER)
        row.hold(topics_of(registration.topics, of_user, everybodys))
        registry.rows[id] = row
        registry.ids_by_token[device.provider, device.token] = id

    async def update(
        self,
        selector: DeviceSelector,
        change: DeviceChange,
        *,
        switch_user_topics: bool,
    ) -> int:
        self.writes += 1
        selected = [r for r in self._selected(selector) if r.removed_at_ms is None]
        # All are looked at before one is changed: over the limit none is.
        wanted = [self._topics_after(r, change, switch_user_topics) for r in selected]
        for row, topics in zip(selected, wanted, strict=True):
            old = row.device
            tags = old.tags if change.tags is None else _tags(old.tags, change.tags)
            row.device = replace(
                old,
                tags=tags,
                user=_or(change.user, old.user),
                meta=old.meta if change.meta is None else dict(change.meta),
                timezone=_or(change.timezone, old.timezone),
                locale=_or(change.locale, old.locale),
            )
            row.updated_at_ms = self._clock.now_ms()
            row.hold(topics)
        return len(selected)

    async def remove(self, selector: DeviceSelector) -> int:
        self.writes += 1
        selected = self._selected(selector)
        for row in selected:
            self.registry.forget(row.device.id)
        return sum(row.removed_at_ms is None for row in selected)

    async def fetch_page(
        self,
        filter: DeviceFilter,
        page: PageRequest,
        *,
        include_topics: bool = False,
    ) -> Page[Device]:
        rows = [
            _shown(row) if include_topics else replace(_shown(row), topics=())
            for row in self.registry.live()
            if _matches(row, filter)
        ]
        return _page(rows, page)

    async def update_topics(
        self, device_id: str, change: TopicsChange, *, owner: str = ""
    ) -> None:
        row = self.registry.rows.get(device_id)
        if row is None or row.removed_at_ms is not None:
            raise NotFound("device_id: no such device")
        if owner and owner != row.device.user:
            raise Conflict("user: the device belongs to another user")
        row.hold(self._topics_after(row, DeviceChange(topics=change), False))
        self.writes += 1

    async def fetch_topic_page(
        self,
        filter: DeviceTopicFilter,
        page: PageRequest,
        *,
        include_device: bool = False,
    ) -> Page[DeviceTopic]:
        rows = [
            DeviceTopic(
                row.topic_ids[topic],
                row.device.id,
                topic,
                replace(_shown(row), topics=()) if include_device else None,
            )
            for row in self.registry.live()
            if _in(row.device.id, filter.device_ids)
            and _in(row.device.user, filter.device_users)
            and _in(row.device.provider, filter.device_providers)
            and _in(row.device.platform, filter.device_platforms)
            and _has_token(row.device, filter.device_provider_tokens)
            for topic in row.topics
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
    ) -> RecipientPage:
        self.asked.append(list(details))
        if self.faults:
            raise self.faults.pop(0)
        rest = [
            row.device
            for row in self.registry.live()
            if row.device.id > cursor
            and row.device.provider == provider
            and _matches(row, filter)
        ]
        found = rest[:limit]
        more: dict[str, tuple[str, ...]] = {}
        if Detail.USER in details:
            more["users"] = tuple(device.user for device in found)
        if Detail.TIMEZONE in details:
            more["timezones"] = tuple(device.timezone for device in found)
        if Detail.LOCALE in details:
            more["locales"] = tuple(device.locale for device in found)
        if Detail.META in details:
            more["metas"] = tuple(json.dumps(dict(each.meta)) for each in found)
        make = SERVICES.tokens_of(provider).make_target
        recipients = Recipients(
            targets=tuple(make(each.token, each.webpush_keys) for each in found),
            device_ids=tuple(device.id for device in found),
            platforms=tuple(device.platform for device in found),
            **more,
        )
        return RecipientPage(recipients, found[-1].id if len(rest) > limit else "")

    async def remove_dead(
        self, dead: Sequence[DeadToken], *, guard: RemovalGuard | None = None
    ) -> Removal:
        self.writes += 1
        self.dead += dead
        meant = [
            (row, said)
            for said in dead
            if (row := self.registry.rows.get(said.device_id)) is not None
            and row.is_meant(said)
        ]
        return self.registry.remove_guarded(meant, guard, self._clock.now_ms())

    async def count_held(self, filter: RemovedFilter) -> list[RemovedGroup]:
        counts = Counter(
            (row.device.provider, row.device.integration, row.held_reason)
            for row in self._held(filter)
        )
        kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
        return [RemovedGroup(*kind, counts[kind]) for kind in kinds]

    async def approve_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        self.writes += 1
        found = self._held(filter)[:limit]
        for row in found:
            row.removed_at_ms = self._clock.now_ms()
            row.removed_reason = row.held_reason
            row.release()
        return [row.device.id for row in found]

    async def release_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        self.writes += 1
        found = self._held(filter)[:limit]
        for row in found:
            row.release()
        return [row.device.id for row in found]

    def _held(self, filter: RemovedFilter) -> list[_Row]:
        rows = [self.registry.rows[id] for id in sorted(self.registry.rows)]
        return [
            row
            for row in rows
            if row.is_held and _is_chosen(row, filter, row.held_at_ms, row.held_reason)
        ]

    async def remove_inactive(
        self, *, older_than_ms: int, limit: int
    ) -> Mapping[str, int]:
        self.writes += 1
        self.edges.append(older_than_ms)
        idle = [r for r in self.registry.live() if r.updated_at_ms < older_than_ms]
        idle.sort(key=lambda row: row.updated_at_ms)
        for row in idle[:limit]:
            row.removed_at_ms = row.updated_at_ms = self._clock.now_ms()
            row.removed_reason = "inactive"
        return dict(Counter(row.device.provider for row in idle[:limit]))

    async def purge_removed(self, *, older_than_ms: int, limit: int) -> int:
        self.writes += 1
        old = self._removed(RemovedFilter(until_ms=older_than_ms))
        old.sort(key=lambda row: row.removed_at_ms or 0)
        for row in old[:limit]:
            self.registry.forget(row.device.id)
        return len(old[:limit])

    async def count_removed(self, filter: RemovedFilter) -> list[RemovedGroup]:
        counts = Counter(
            (row.device.provider, row.device.integration, row.removed_reason)
            for row in self._removed(filter)
        )
        kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
        return [RemovedGroup(*kind, counts[kind]) for kind in kinds]

    async def restore_removed(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        self.writes += 1
        self.restored += filter.ids
        self.limits.append(limit)
        found = self._removed(filter)[:limit]
        for row in found:
            row.removed_at_ms, row.removed_reason = None, ""
            row.updated_at_ms = self._clock.now_ms()
            row.acquit()
            row.release()
            row.hold(change_origin(row.topics, self._bound_to(row.device.user), USER))
        return [row.device.id for row in found]

    def _removed(self, filter: RemovedFilter) -> list[_Row]:
        rows = [self.registry.rows[id] for id in sorted(self.registry.rows)]
        return [
            row
            for row in rows
            if _is_chosen(row, filter, row.removed_at_ms, row.removed_reason)
        ]

    def _selected(self, selector: DeviceSelector) -> list[_Row]:
        if selector.is_empty():
            raise BadRequest("selector", "selects nothing")
        return [
            row
            for row in self.registry.rows.values()
            if _in(row.device.id, selector.ids)
            and _in(row.device.user, selector.users)
            and _has_token(row.device, selector.provider_tokens)
        ]

    def _bound_to(self, user: str) -> TopicsChange:
        bound = self.registry.topics_of(user) if user != GLOBAL_USER else ()
        return TopicsChange(TopicOp.SET, tuple(bound))

    def _topics_after(
        self, row: _Row, change: DeviceChange, switch_user_topics: bool
    ) -> dict[str, TopicOrigin]:
        topics = dict(row.topics)
        if (
            switch_user_topics
            and change.user is not None
            and change.user != row.device.user
        ):
            topics = change_origin(topics, self._bound_to(change.user), USER)
        if change.topics is not None:
            topics = change_origin(topics, change.topics, TopicOrigin.DEVICE)
            if change.topics.op is not TopicOp.REMOVE:
                check_own_count(topics, self._limit)
        return topics


class MemoryVerdicts:
    """The `VerdictStore` port; `failure` is raised by notes while it stands.

    `notes` counts them; `accused`, `delivered`, `acquitted` and `acquitted_all` are
    what the other calls were told.
    """

    def __init__(
        self, registry: MemoryRegistry | None = None, *, clock: Clock | None = None
    ) -> None:
        self.registry = registry or MemoryRegistry()
        self._clock = clock or SystemClock()
        self.failure: Exception | None = None
        self.notes = 0
        self.accused: list[DeadToken] = []
        self.delivered = 0
        self.acquitted: set[str] = set()
        self.acquitted_all: list[tuple[str, str]] = []

    async def note(
        self, provider: str, integration: str, letters: str, *, delivered: int
    ) -> RecentVerdicts:
        if self.failure is not None:
            raise self.failure
        self.notes += 1
        now_ms, key = self._clock.now_ms(), (provider, integration)
        before, at_ms = self.registry.answers.get(key, (RecentVerdicts(), now_ms))
        kept = before.letters if at_ms >= now_ms - FORGOTTEN_AFTER_MS else ""
        recent = RecentVerdicts(
            (kept + letters)[-KEPT_ANSWERS:], before.delivered + delivered
        )
        self.registry.answers[key] = recent, max(at_ms, now_ms)
        return recent

    async def suspect(
        self,
        accused: Sequence[DeadToken],
        *,
        delivered: int,
        proof: int,
        guard: RemovalGuard | None = None,
    ) -> Removal:
        self.accused += accused
        self.delivered = delivered
        confirmed, now_ms = [], self._clock.now_ms()
        for said in accused:
            row = self.registry.rows.get(said.device_id)
            if row is None or not row.is_meant(said):
                continue
            marked_ms = row.suspected_at_ms
            if marked_ms is None or marked_ms < row.registered_at_ms:
                row.suspected_at_ms, row.suspected_after = now_ms, delivered
                row.suspected_by = said.push_id
            elif (
                marked_ms < said.before_ms
                and (not row.suspected_by or row.suspected_by != said.push_id)
                and row.suspected_after <= delivered - proof
            ):
                confirmed.append((row, said))
        return self.registry.remove_guarded(confirmed, guard, now_ms)

    async def fetch_suspects(
        self, provider: str, integration: str, *, limit: int
    ) -> set[str]:
        marked = self._marked(provider, integration, or_held=True)
        marked.sort(key=lambda row: row.suspected_at_ms or 0)
        return {row.device.id for row in marked[:limit]}

    async def acquit(self, ids: Collection[str]) -> None:
        self.acquitted |= set(ids)
        for id in ids:
            if (row := self.registry.rows.get(id)) is not None:
                row.acquit()
                row.release()

    async def acquit_all(self, provider: str, integration: str) -> None:
        self.acquitted_all.append((provider, integration))
        for row in self._marked(provider, integration):
            row.acquit()

    def _marked(
        self, provider: str, integration: str, *, or_held: bool = False
    ) -> list[_Row]:
        belonging = DeviceFilter(providers=(provider,), integrations=(integration,))
        return [
            row
            for row in self.registry.live()
            if (row.suspected_at_ms is not None or (or_held and row.is_held))
            and _matches(row, belonging)
        ]


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


class MemoryReceipts:
    """The `ReceiptStore` port; `faults` are raised by the next adds and claims."""

    def __init__(self) -> None:
        self.due: dict[tuple[str, str], tuple[int, Ticket]] = {}
        self.faults: list[Exception] = []

    @property
    def tickets(self) -> list[Ticket]:
        """All that are kept, as they came in."""
        return [ticket for _, ticket in self.due.values()]

    async def add(self, tickets: Sequence[Ticket], *, due_at_ms: int) -> None:
        if self.faults:
            raise self.faults.pop(0)
        for ticket in tickets:
            self.due.setdefault((ticket.integration, ticket.id), (due_at_ms, ticket))

    async def claim(
        self, integration: str, *, now_ms: int, next_due_ms: int, limit: int
    ) -> list[Ticket]:
        if self.faults:
            raise self.faults.pop(0)
        due = [
            (due_ms, key)
            for key, (due_ms, _) in self.due.items()
            if key[0] == integration and due_ms <= now_ms
        ]
        due.sort(key=lambda one: one[0])
        claimed = [self.due[key][1] for _, key in due[:limit]]
        for ticket in claimed:
            self.due[ticket.integration, ticket.id] = next_due_ms, ticket
        return claimed

    async def drop(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        return [
            one
            for one in tickets
            if self.due.pop((one.integration, one.id), None) is not None
        ]

    async def purge_overdue(self, *, due_before_ms: int, limit: int) -> int:
        over = [key for key, (due_ms, _) in self.due.items() if due_ms < due_before_ms]
        over.sort(key=lambda key: self.due[key][0])
        for key in over[:limit]:
            del self.due[key]
        return len(over[:limit])


USER = TopicOrigin.USER


def _page(rows: Iterable[Item], page: PageRequest) -> Page[Item]:
    if page.cursor and not is_id(page.cursor):
        raise BadRequest("cursor", "must be the id of the last row of the page before")
    ordered = sorted(rows, key=lambda row: row.id)
    rest = [row for row in ordered if row.id > page.cursor]
    items = rest[: page.limit]
    return Page(
        items=tuple(items),
        next_cursor=items[-1].id if len(rest) > len(items) else "",
        total=len(ordered) if page.include_total else None,
    )


def _shown(row: _Row) -> Device:
    return replace(
        row.device,
        topics=tuple(sorted(row.topics)),
        updated_at=row.updated_at_ms // 1000,
    )


def _in(value: str, allowed: Sequence[str]) -> bool:
    return not allowed or value in allowed


def _or(value: str | None, otherwise: str) -> str:
    return otherwise if value is None else value


def _has_token(device: Device, groups: Sequence[ProviderTokens]) -> bool:
    return not groups or any(
        device.provider == group.provider and device.token in group.tokens
        for group in groups
    )


def _matches(row: _Row, filter: DeviceFilter) -> bool:
    device = row.device
    return (
        _in(device.id, filter.ids)
        and _in(device.user, filter.users)
        and _in(device.provider, filter.providers)
        and _in(device.platform, filter.platforms)
        and _in(device.integration or device.provider, filter.integrations)
        and _has_token(device, filter.provider_tokens)
        and (not filter.topics or bool({*filter.topics} & row.topics.keys()))
        and all(device.tags.get(key) == filter.tags[key] for key in filter.tags)
    )


def _is_chosen(
    row: _Row, filter: RemovedFilter, at_ms: int | None, reason: str
) -> bool:
    device = row.device
    reasons = (reason, reason.partition(": ")[2])
    return (
        at_ms is not None
        and _in(device.id, filter.ids)
        and _in(device.user, filter.users)
        and _in(device.provider, filter.providers)
        and _in(device.integration or device.provider, filter.integrations)
        and (not filter.topics or bool({*filter.topics} & row.topics.keys()))
        and (not filter.reasons or bool({*filter.reasons} & {*reasons}))
        and at_ms >= filter.since_ms
        and (not filter.until_ms or at_ms < filter.until_ms)
    )


def _tags(tags: Mapping[str, str], change: TagsChange) -> Mapping[str, str]:
    if change.op is TopicOp.SET:
        return dict(change.tags)
    if change.op is TopicOp.ADD:
        return {**tags, **change.tags}
    return {key: value for key, value in tags.items() if key not in change.tags}


class MemoryAudit:
    """`AuditStore` of one process. `failure` is raised by all calls while it stands."""

    def __init__(self) -> None:
        self.entries: dict[int, AuditEntry] = {}
        self.failure: Exception | None = None
        self._last = 0

    async def begin(self, entry: AuditEntry) -> str:
        self._begin()
        self._last += 1
        self.entries[self._last] = replace(entry, id=str(self._last))
        return str(self._last)

    async def end(self, id: str, *, count: int, result: str) -> None:
        self._begin()
        entry = self.entries.get(int(id) if id.isdigit() else 0)
        if entry is not None and entry.result == UNENDED:
            self.entries[int(id)] = replace(entry, count=count, result=result)

    async def fetch_page(
        self, chosen: AuditFilter, *, limit: int, before: str = ""
    ) -> list[AuditEntry]:
        self._begin()
        if before and not (before.isascii() and before.isdigit()):
            raise BadRequest("before", "is not the id of an entry")
        found = [
            entry
            for id, entry in sorted(self.entries.items(), reverse=True)
            if (not before or id < int(before))
            and (not chosen.actors or entry.actor in chosen.actors)
            and (not chosen.methods or entry.method in chosen.methods)
            and entry.at_ms >= chosen.since_ms
            and (not chosen.until_ms or entry.at_ms < chosen.until_ms)
        ]
        return found[:limit]

    async def prune(self, before_ms: int) -> int:
        self._begin()
        old = [id for id, each in self.entries.items() if each.at_ms < before_ms]
        for id in old:
            del self.entries[id]
        return len(old)

    def _begin(self) -> None:
        if self.failure is not None:
            raise self.failure
