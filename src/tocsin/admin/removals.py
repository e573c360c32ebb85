"""Removals that wait for a person: how many, and what he decides.

Verdicts beyond a share of an integration's devices are held; see `core/removals.py`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol

from tocsin.admin.actor import Actor
from tocsin.admin.audit import AuditTrail, Subject
from tocsin.core.device import RemovedFilter, RemovedGroup
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.push_services import SERVICES

BATCH = 1000
"""Devices decided in one transaction."""


class HeldRemovals(Protocol):
    """What a device store knows of them."""

    async def count_held(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """See `DeviceStore`."""
        ...

    async def approve_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """See `DeviceStore`."""
        ...

    async def release_held(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """See `DeviceStore`."""
        ...


class RemovalService:
    """Lists held removals, and ends them one way or the other."""

    def __init__(self, devices: HeldRemovals | None, *, audit: AuditTrail) -> None:
        """Without `devices`, where no database is, every call answers 108."""
        self._devices = devices
        self._audit = audit

    async def list(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """How many wait, by provider, integration and reason, the largest first."""
        check_filter(filter)
        return await self._registry.count_held(filter)

    async def approve(
        self, filter: RemovedFilter, *, actor: Actor, everything: bool = False
    ) -> int:
        """Remove these devices, as the provider said; they can be restored.

        Returns how many. An empty filter is refused unless `everything` is meant.
        """
        devices = self._registry
        check_choice(filter, everything)
        async with self._audit.entry(
            actor, "approve_removals", _subject(filter, everything)
        ) as outcome:
            outcome.count = await _end(devices.approve_held, filter)
        return outcome.count

    async def restore(
        self, filter: RemovedFilter, *, actor: Actor, everything: bool = False
    ) -> int:
        """Let these devices stay: the verdicts were wrong. Returns how many."""
        devices = self._registry
        check_choice(filter, everything)
        async with self._audit.entry(
            actor, "restore_removals", _subject(filter, everything)
        ) as outcome:
            outcome.count = await _end(devices.release_held, filter)
        return outcome.count

    @property
    def _registry(self) -> HeldRemovals:
        if self._devices is None:
            raise NotAvailable("no database is configured, so there are no devices")
        return self._devices


class _Step(Protocol):
    """Decides up to `limit` devices; returns their ids, none where none is left."""

    async def __call__(self, filter: RemovedFilter, *, limit: int) -> list[str]: ...


async def _end(step: _Step, filter: RemovedFilter) -> int:
    done = 0
    while ids := await step(filter, limit=BATCH):
        done += len(ids)
    return done


def _subject(filter: RemovedFilter, everything: bool) -> Subject:
    return asdict(filter) | {"all": everything}


def check_choice(filter: RemovedFilter, everything: bool) -> None:
    """Raise `BadRequest` unless it says what is meant, in one way."""
    check_filter(filter)
    if filter.is_empty() and not everything:
        raise BadRequest(
            "filter",
            "selects nothing: name reasons, integrations, ids, … or say that all are"
            " meant",
        )
    if everything and not filter.is_empty():
        raise BadRequest("filter", "names some, while all are meant")


def check_filter(filter: RemovedFilter) -> None:
    """Raise `BadRequest` for what no device can have."""
    for name in filter.providers:
        if name not in SERVICES:
            raise BadRequest("providers", f"are some of {', '.join(SERVICES)}")
    for field in ("since_ms", "until_ms"):
        if getattr(filter, field) < 0:
            raise BadRequest(field, "must not be negative")
