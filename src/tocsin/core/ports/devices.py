"""Ports of the device registry: devices, their topics, verdicts about their tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.push import RecipientPage
from tocsin.core.removals import Removal, RemovalGuard


class DeviceStore(Protocol):
    """The device registry. Every method is one transaction."""

    async def register(self, registration: Registration) -> str:
        """Create or overwrite a device as a whole and return its id.

        (provider, token) is unique: a known pair updates that device and keeps
        its id. With an id given, that device takes the token; another row that
        held the pair is merged away. A well-formed id without a row falls back
        to the token match, else to a fresh id. Afterwards the device's topics
        are exactly `topics`, those bound to `user` and those bound to
        `GLOBAL_USER`, each with its origins. Safe under races: concurrent
        registrations of one token all return the same id. A soft-removed
        device that registers again is alive again under its id.
        Raises `BadRequest("topics", …)` over the topics-per-device limit and
        `BadRequest("id", …)` for an id that no server made.
        """
        ...

    async def update(
        self,
        selector: DeviceSelector,
        change: DeviceChange,
        *,
        switch_user_topics: bool,
    ) -> int:
        """Change all selected devices and return how many there were.

        Unknown ids are no error. With `switch_user_topics`, a change of owner
        drops the topics that came from the old user and adds those bound to
        the new one. `updated_at` moves.
        """
        ...

    async def remove(self, selector: DeviceSelector) -> int:
        """Delete all selected devices with their topics; returns how many."""
        ...

    async def fetch_page(
        self,
        filter: DeviceFilter,
        page: PageRequest,
        *,
        include_topics: bool = False,
    ) -> Page[Device]:
        """Devices in id order; soft-removed ones are hidden."""
        ...

    async def update_topics(
        self, device_id: str, change: TopicsChange, *, owner: str = ""
    ) -> None:
        """Change a device's own topics; doubled add and absent remove are no-ops.

        Raises `NotFound` for an unknown device and `Conflict` where `owner` is
        given and is not its user; nothing changes on either.
        """
        ...

    async def fetch_topic_page(
        self,
        filter: DeviceTopicFilter,
        page: PageRequest,
        *,
        include_device: bool = False,
    ) -> Page[DeviceTopic]:
        """Device topics in id order; `topic_prefix` is literal text."""
        ...

    async def fetch_targets(
        self,
        filter: DeviceFilter,
        *,
        provider: str,
        cursor: str,
        limit: int,
        details: Collection[Detail] = (),
    ) -> RecipientPage:
        """A page of a walk: live devices of one provider after `cursor`, by id.

        A hot path. A device that several topics match appears once. Its target is
        what the service's `Tokens.make_target` makes of token and keys. Only the named
        `details` are filled in.
        """
        ...

    async def remove_dead(
        self, dead: Sequence[DeadToken], *, guard: RemovalGuard | None = None
    ) -> Removal:
        """Soft-remove by the rule of `DeadToken`, as many as the guard allows.

        The others are held: they live, and are sent to, until a person decides; so do
        all that follow, as long as something of that integration is held. A delivery
        (`VerdictStore.acquit`) or a registration ends a hold. Several calls at once
        share one limit.
        """
        ...

    async def count_held(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """What is held for a person, the largest group first."""
        ...

    async def approve_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """Soft-remove up to `limit` held devices, for the reason they are held for.

        Returns their ids; empty means that none is left.
        """
        ...

    async def release_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """End the hold of up to `limit` devices, which stay; returns their ids."""
        ...

    async def remove_inactive(
        self, *, older_than_ms: int, limit: int
    ) -> Mapping[str, int]:
        """Soft-remove up to `limit` live devices not updated since that time.

        Unix milliseconds. Returns how many were removed, by provider; empty means that
        none is left. A device that registers again at that moment stays.
        """
        ...

    async def purge_removed(self, *, older_than_ms: int, limit: int) -> int:
        """Delete for good what was soft-removed before that Unix millisecond."""
        ...

    async def count_removed(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """What is soft-removed, the largest group first."""
        ...

    async def restore_removed(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """Bring up to `limit` soft-removed devices back; returns their ids.

        Empty means that none is left. They keep their own topics, and get the topics
        that their user has now. A device that registered again meanwhile is alive, and
        stays as it is. `updated_at` of each is now.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecentVerdicts:
    """The last answers to one credential, over all workers and sends.

    `letters` has one letter per answer about a token (see `core/outcome.py`), the
    oldest first. `delivered` counts the deliveries that were ever noted.
    """

    letters: str = ""
    delivered: int = 0


class VerdictStore(Protocol):
    """What workers share about credentials and about suspected devices.

    A credential is a provider and the identifier of an integration.
    """

    async def note(
        self, provider: str, integration: str, letters: str, *, delivered: int
    ) -> RecentVerdicts:
        """Add answers, the oldest first, and return the last of all workers.

        Atomic: two calls at once both count. `delivered` is the number of deliveries
        since the previous call, which may be more than `letters` holds. After a day
        without any answer all is forgotten.
        """
        ...

    async def suspect(
        self,
        accused: Sequence[DeadToken],
        *,
        delivered: int,
        proof: int,
        guard: RemovalGuard | None = None,
    ) -> Removal:
        """Act on guarded verdicts that are believed.

        The first time a device is only marked. It is soft-removed, by the rule of
        `DeadToken` and as `remove_dead` does, if another send than the marking one
        (`push_id`) got the verdict again, the mark is older than that send, and the
        credential has made at least `proof` deliveries since the mark: `delivered` is
        its number of deliveries as `note` counts them. A registration takes the mark
        away.
        """
        ...

    async def fetch_suspects(
        self, provider: str, integration: str, *, limit: int
    ) -> set[str]:
        """Ids of up to `limit` devices of this credential that are marked or held."""
        ...

    async def acquit(self, ids: Collection[str]) -> None:
        """End mark and hold of these devices: something was delivered to them."""
        ...

    async def acquit_all(self, provider: str, integration: str) -> None:
        """Take the mark from all devices of a credential that is in doubt."""
        ...


class UserTopicStore(Protocol):
    """The topics of users, which their devices hold as well."""

    async def update(self, user: str, change: TopicsChange) -> None:
        """Change the list and, in the same transaction, that user's devices.

        For `GLOBAL_USER` devices follow only at their next registration.
        """
        ...

    async def fetch_page(
        self, filter: UserTopicFilter, page: PageRequest
    ) -> Page[UserTopic]:
        """User topics in id order; `topic_prefix` is literal text."""
        ...
