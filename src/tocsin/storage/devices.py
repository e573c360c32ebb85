"""`DeviceStore` on SQL: what each call does, in one transaction each.

Part of the storage room; it must not decide who may call, nor log tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tocsin.core.device import (
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
    Registration,
    RemovedFilter,
    RemovedGroup,
    TopicsChange,
)
from tocsin.core.errors import BadRequest
from tocsin.core.ids import is_id
from tocsin.core.ports.clock import Clock
from tocsin.core.push import RecipientPage
from tocsin.core.removals import Removal, RemovalGuard
from tocsin.storage.dead_tokens import mark_inactive, purge, remove_guarded
from tocsin.storage.device_changes import (
    change_devices,
    change_own_topics,
    delete_devices,
)
from tocsin.storage.device_lists import list_device_topics, list_devices
from tocsin.storage.engine import Database
from tocsin.storage.errors import DatabaseUnavailable
from tocsin.storage.group_commit import GroupCommit
from tocsin.storage.held_removals import approve_held, count_held, release_held
from tocsin.storage.registration import KeyedRegistration, register_all
from tocsin.storage.removed_devices import count_removed, restore_removed
from tocsin.storage.replicas import ReplicaReader
from tocsin.storage.tables import token_key
from tocsin.storage.targets import fetch_target_page
from tocsin.storage.topic_sets import check_count


class SqlDeviceStore:
    """The device registry in PostgreSQL or SQLite.

    Registrations that arrive together are written together, at most
    `group_limit` in a transaction. A device may hold `topics_per_device` topics
    of its own; those bound to its user or to everybody do not count. Lists and
    walks are read from `replicas` where there are some, and may lag behind then.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        topics_per_device: int = 1000,
        group_limit: int = 200,
        replicas: Sequence[Database] = (),
    ) -> None:
        self._database = database
        self._reading = ReplicaReader(database, replicas)
        self._clock = clock
        self._topics_per_device = topics_per_device
        self._registrations: GroupCommit[KeyedRegistration, str] = GroupCommit(
            self._register_group,
            spawn=database.spawn,
            hits_all=lambda error: isinstance(error, DatabaseUnavailable),
            limit=group_limit,
        )

    async def register(self, registration: Registration) -> str:
        """See `DeviceStore.register`."""
        if registration.id and not is_id(registration.id):
            raise BadRequest("id", "was not made by this server; leave it out")
        check_count(registration.topics, self._topics_per_device)
        key = token_key(registration.provider, registration.token)
        return await self._registrations.submit(KeyedRegistration(registration, key))

    async def _register_group(
        self, entries: Sequence[KeyedRegistration]
    ) -> Sequence[str | None]:
        return await self._database.write(
            lambda connection: register_all(connection, entries, self._clock.now_ms())
        )

    async def update(
        self,
        selector: DeviceSelector,
        change: DeviceChange,
        *,
        switch_user_topics: bool,
    ) -> int:
        """See `DeviceStore.update`."""
        return await self._database.write(
            lambda connection: change_devices(
                connection,
                selector,
                change,
                switch_user_topics=switch_user_topics,
                topics_per_device=self._topics_per_device,
                now_ms=self._clock.now_ms(),
            )
        )

    async def remove(self, selector: DeviceSelector) -> int:
        """See `DeviceStore.remove`; soft-removed ones go too, uncounted."""
        return await self._database.write(
            lambda connection: delete_devices(connection, selector)
        )

    async def fetch_page(
        self,
        filter: DeviceFilter,
        page: PageRequest,
        *,
        include_topics: bool = False,
    ) -> Page[Device]:
        """See `DeviceStore.fetch_page`; a cursor that is no id is refused."""
        return await self._reading.read(
            lambda connection: list_devices(
                connection, filter, page, include_topics=include_topics
            )
        )

    async def update_topics(
        self, device_id: str, change: TopicsChange, *, owner: str = ""
    ) -> None:
        """See `DeviceStore.update_topics`."""
        await self._database.write(
            lambda connection: change_own_topics(
                connection,
                device_id,
                change,
                owner=owner,
                topics_per_device=self._topics_per_device,
            )
        )

    async def fetch_topic_page(
        self,
        filter: DeviceTopicFilter,
        page: PageRequest,
        *,
        include_device: bool = False,
    ) -> Page[DeviceTopic]:
        """See `DeviceStore.fetch_topic_page`; the device comes without topics."""
        return await self._reading.read(
            lambda connection: list_device_topics(
                connection, filter, page, include_device=include_device
            )
        )

    async def fetch_targets(
        self,
        filter: DeviceFilter,
        *,
        provider: str,
        cursor: str,
        limit: int,
        details: Collection[Detail] = (),
    ) -> RecipientPage:
        """See `DeviceStore.fetch_targets`."""
        return await self._reading.read(
            lambda connection: fetch_target_page(
                connection,
                filter,
                provider=provider,
                cursor=cursor,
                limit=limit,
                details=details,
            )
        )

    async def remove_dead(
        self, dead: Sequence[DeadToken], *, guard: RemovalGuard | None = None
    ) -> Removal:
        """See `DeviceStore.remove_dead`."""
        if not dead:
            return Removal([], [])
        return await self._database.write(
            lambda connection: remove_guarded(
                connection, dead, guard, self._clock.now_ms()
            )
        )

    async def count_held(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """See `DeviceStore.count_held`."""
        return await self._database.read(
            lambda connection: count_held(connection, filter)
        )

    async def approve_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """See `DeviceStore.approve_held`."""
        return await self._database.write(
            lambda connection: approve_held(
                connection, filter, limit, self._clock.now_ms()
            )
        )

    async def release_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """See `DeviceStore.release_held`."""
        return await self._database.write(
            lambda connection: release_held(connection, filter, limit)
        )

    async def remove_inactive(
        self, *, older_than_ms: int, limit: int
    ) -> Mapping[str, int]:
        """See `DeviceStore.remove_inactive`."""
        return await self._database.write(
            lambda connection: mark_inactive(
                connection, older_than_ms, limit, self._clock.now_ms()
            )
        )

    async def purge_removed(self, *, older_than_ms: int, limit: int) -> int:
        """See `DeviceStore.purge_removed`."""
        return await self._database.write(
            lambda connection: purge(connection, older_than_ms, limit)
        )

    async def count_removed(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """See `DeviceStore.count_removed`."""
        return await self._database.read(
            lambda connection: count_removed(connection, filter)
        )

    async def restore_removed(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """See `DeviceStore.restore_removed`."""
        return await self._database.write(
            lambda connection: restore_removed(
                connection, filter, limit, self._clock.now_ms()
            )
        )
