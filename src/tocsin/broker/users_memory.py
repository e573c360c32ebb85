"""Statuses of users, and denials, in one process; everything is lost with it.

Part of the broker room; it decides nothing about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tocsin.core.ports.channels import DenialKind, UserStatus
from tocsin.core.ports.clock import Clock

_SWEEP_EVERY = 1000
"""After this many writes, what has expired is dropped."""


class MemoryUserStatuses:
    """`UserStatusStore` in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._statuses: dict[str, tuple[int, UserStatus]] = {}  # until, status
        self._writes = 0

    async def set_active(
        self, users: Sequence[str], state: str, *, now_s: int, ttl_s: int
    ) -> None:
        """See the port."""
        for user in users:
            status = replace(self._find(user), active=now_s, state=state)
            self._put(status, now_s + ttl_s)

    async def set_online(self, users: Sequence[str], *, now_s: int, ttl_s: int) -> None:
        """See the port."""
        for user in users:
            self._put(replace(self._find(user), online=now_s), now_s + ttl_s)

    async def fetch(self, users: Sequence[str]) -> Sequence[UserStatus]:
        """See the port."""
        return [self._find(user) for user in users]

    async def delete(self, users: Sequence[str]) -> None:
        """See the port."""
        for user in users:
            self._statuses.pop(user, None)

    def _find(self, user: str) -> UserStatus:
        until_s, status = self._statuses.get(user, (0, UserStatus(user)))
        return status if until_s > self._now_s() else UserStatus(user)

    def _put(self, status: UserStatus, until_s: int) -> None:
        self._statuses[status.user] = (until_s, status)
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            now_s = self._now_s()
            over = [u for u, (until, _) in self._statuses.items() if until <= now_s]
            for user in over:
                del self._statuses[user]

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1000


class MemoryDenials:
    """`DenialStore` in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # value and until; an until of 0 is for ever
        self._denials: dict[tuple[DenialKind, str], tuple[int, int]] = {}
        self._writes = 0

    async def put(
        self, kind: DenialKind, key: str, value: int, *, expire_at: int
    ) -> None:
        """See the port."""
        known = self._find(kind, key)
        self._denials[kind, key] = (max(value, known or 0), expire_at)
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            for each in list(self._denials):
                if self._find(*each) is None:
                    del self._denials[each]

    async def remove(self, kind: DenialKind, key: str) -> None:
        """See the port."""
        self._denials.pop((kind, key), None)

    async def fetch(
        self, keys: Sequence[tuple[DenialKind, str]]
    ) -> Sequence[int | None]:
        """See the port."""
        return [self._find(*key) for key in keys]

    def _find(self, kind: DenialKind, key: str) -> int | None:
        value, until_s = self._denials.get((kind, key), (None, 0))
        is_over = 0 < until_s <= self._clock.now_ms() // 1000
        return None if is_over else value
