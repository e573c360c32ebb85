"""Channels room: users' statuses, and blocking users and taking tokens back.

It must not check a connection: `denials.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from tocsin.channels.survey import SurveyService
from tocsin.core.client_codes import DENIED, INVALID_TOKEN
from tocsin.core.control import DisconnectCommand, Target, UnsubscribeCommand
from tocsin.core.errors import ApiError, BadRequest, NotAvailable
from tocsin.core.ports.channels import (
    ControlBus,
    DenialKind,
    DenialStore,
    UserStatus,
    UserStatusStore,
)
from tocsin.core.ports.clock import Clock
from tocsin.core.surveys import ConnectionAnswer, TokenInfo

STATUS_TTL_S = 30 * 24 * 3600
FLUSH_INTERVAL_S = 25.0
MAX_USERS = 10_000
"""Users of one call."""

_log = structlog.get_logger(__name__)


def token_key(user: str, channel: str) -> str:
    """The key under which a user's tokens are taken back.

    `channel` is empty for connection tokens. The user's length in front keeps users and
    channels that hold colons apart.
    """
    return f"{len(user)}:{user}:{channel}"


class UserStatusService:
    """Statuses of users; `store` is `None` where they are off.

    `note_online` is cheap: the users are written every `FLUSH_INTERVAL_S`, and before
    each `fetch`. `online` returns the users who are connected here; they are written
    each time too.
    """

    def __init__(
        self,
        store: UserStatusStore | None,
        *,
        clock: Clock,
        ttl_s: int = STATUS_TTL_S,
        online: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._store = store
        self._who_is_online = online
        self._clock = clock
        self._ttl_s = ttl_s
        self._online: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write what is noted from now on."""
        if self._store is not None:
            self._task = asyncio.create_task(self._write_for_ever())

    async def close(self) -> None:
        """Write the last notes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self._try_flush()

    def note_online(self, user: str) -> None:
        """Note that the user has a connection now; an anonymous one is ignored."""
        if user and self._store is not None:
            self._online.add(user)

    async def update(self, users: Sequence[str], state: str) -> None:
        """Write that the users were active now; raises `BadRequest`, `NotAvailable`."""
        store = self._checked(users)
        await store.set_active(
            users, state, now_s=self._clock.now_ms() // 1000, ttl_s=self._ttl_s
        )

    async def fetch(self, users: Sequence[str]) -> Sequence[UserStatus]:
        """In the order asked for; raises as `update`."""
        store = self._checked(users)
        await self._flush(store)
        return await store.fetch(users)

    async def delete(self, users: Sequence[str]) -> None:
        """Forget the users; those who are connected are soon noted again."""
        store = self._checked(users)
        # Else the next write would bring them back.
        self._online.difference_update(users)
        await store.delete(users)

    def _checked(self, users: Sequence[str]) -> UserStatusStore:
        if self._store is None:
            raise NotAvailable("user_status.enabled is false")
        if not users:
            raise BadRequest("users", "must not be empty")
        if len(users) > MAX_USERS:
            raise BadRequest("users", f"must be at most {MAX_USERS}")
        if not all(users):
            raise BadRequest("users", "must not hold an empty user")
        return self._store

    async def _flush(self, store: UserStatusStore) -> None:
        self._online.update(user for user in self._who_is_online() if user)
        if not self._online:
            return
        # Exchanged before the await: who is noted during it is written next time.
        online, self._online = self._online, set()
        try:
            await store.set_online(
                sorted(online), now_s=self._clock.now_ms() // 1000, ttl_s=self._ttl_s
            )
        except ApiError:
            self._online |= online
            raise

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            await self._try_flush()

    async def _try_flush(self) -> None:
        if self._store is None:
            return
        try:
            await self._flush(self._store)
        except ApiError as error:
            _log.warning(
                "who is online could not be written; it is tried again",
                users=len(self._online),
                error=error.message,
            )


class DenialService:
    """Blocks users and takes tokens back; connections that they opened are closed.

    `store` is `None` for each part that is off. Times are Unix seconds; an
    `expire_at` of 0 means for ever.
    """

    def __init__(
        self,
        bus: ControlBus,
        survey: SurveyService,
        *,
        clock: Clock,
        blocks: DenialStore | None,
        revocations: DenialStore | None,
        invalidations: DenialStore | None,
    ) -> None:
        self._bus = bus
        self._survey = survey
        self._clock = clock
        self._blocks = blocks
        self._revocations = revocations
        self._invalidations = invalidations

    async def block(self, user: str, *, expire_at: int) -> None:
        """Refuse the user from now on, and close its connections.

        Raises `BadRequest`, and `NotAvailable` where blocking is off.
        """
        store = _built(self._blocks, "user_block")
        _check_user(user)
        self._check_expiry(expire_at)
        # Written before nodes are told, here and below: see `denials.py`.
        await store.put(DenialKind.USER, user, 1, expire_at=expire_at)
        await self._bus.broadcast(DisconnectCommand(Target(user=user), DENIED))

    async def unblock(self, user: str) -> None:
        """Let the user in again; raises as `block`."""
        store = _built(self._blocks, "user_block")
        _check_user(user)
        await store.remove(DenialKind.USER, user)

    async def revoke(self, uid: str, *, expire_at: int) -> None:
        """Take back the token with this `jti`, and close what it opened.

        Raises `BadRequest`, and `NotAvailable` where revocation is off.
        """
        store = _built(self._revocations, "token_revoke")
        if not uid:
            raise BadRequest("uid", "must not be empty")
        self._check_expiry(expire_at)
        await store.put(DenialKind.TOKEN, uid, 1, expire_at=expire_at)
        for client, found in (await self._survey.find_connections("")).items():
            if found.token is not None and found.token.uid == uid:
                await self._close(client, found)
            for channel, token in found.subscription_tokens.items():
                if token.uid == uid:
                    await self._end(client, found, channel)

    async def invalidate(
        self, user: str, *, channel: str, issued_before: int, expire_at: int
    ) -> None:
        """Take back a user's tokens issued before a time (0: now).

        With a channel, its subscription tokens; without, its connection tokens.
        What they opened is closed. Raises `BadRequest`, `NotAvailable`.
        """
        store = _built(self._invalidations, "user_tokens_invalidate")
        _check_user(user)
        self._check_expiry(expire_at)
        if issued_before < 0:
            raise BadRequest("issued_before", "must not be negative")
        before = issued_before or self._clock.now_ms() // 1000
        key = token_key(user, channel)
        await store.put(DenialKind.USER_TOKENS, key, before, expire_at=expire_at)
        for client, found in (await self._survey.find_connections(user)).items():
            if found.user != user:
                continue
            if not channel and _is_older(found.token, before):
                await self._close(client, found)
            if channel and _is_older(found.subscription_tokens.get(channel), before):
                await self._end(client, found, channel)

    async def _close(self, client: str, found: ConnectionAnswer) -> None:
        target = Target(user=found.user, client=client)
        await self._bus.broadcast(DisconnectCommand(target, INVALID_TOKEN))

    async def _end(self, client: str, found: ConnectionAnswer, channel: str) -> None:
        target = Target(user=found.user, client=client)
        await self._bus.broadcast(UnsubscribeCommand(target, channel))

    def _check_expiry(self, expire_at: int) -> None:
        if expire_at < 0 or 0 < expire_at <= self._clock.now_ms() // 1000:
            raise BadRequest("expire_at", "must be in the future, or 0 for ever")


def _is_older(token: TokenInfo | None, before: int) -> bool:
    return token is not None and token.issued_at < before


def _check_user(user: str) -> None:
    if not user:
        raise BadRequest("user", "must not be empty")


def _built(store: DenialStore | None, section: str) -> DenialStore:
    if store is None:
        raise NotAvailable(f"{section}.enabled is false")
    return store
