"""Channels room: checks whether a user is blocked or a good token was taken back.

It must not verify tokens.

A denial takes two steps: it is written to a store, then all nodes are told to close
what is open. A connect may have read the store before the first step, and not be
registered yet at the second: it would miss both. So the store is asked again when this
node was told something while it was asked.
"""

from __future__ import annotations

from collections.abc import Callable

from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.channels.users import token_key
from tocsin.core.client_codes import (
    DENIED,
    INTERNAL,
    INVALID_TOKEN,
    PERMISSION_DENIED,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.errors import ApiError
from tocsin.core.ports.channels import DenialKind, DenialStore

_Key = tuple[DenialKind, str]


class DenialCheck:
    """Asks the stores of denials; each is `None` where its part is off.

    While a store cannot be reached nobody is let in: clients get a temporary error and
    try again. `orders` is the number of commands that this node was given so far.
    """

    def __init__(
        self,
        *,
        blocks: DenialStore | None = None,
        revocations: DenialStore | None = None,
        invalidations: DenialStore | None = None,
        orders: Callable[[], int] = lambda: 0,
    ) -> None:
        self._blocks = blocks
        self._revocations = revocations
        self._invalidations = invalidations
        self._orders = orders

    async def check(self, claims: ConnectionClaims, *, has_token: bool = True) -> None:
        """For a connect or refresh; `has_token` is false for users without one.

        Raises `ClientDisconnect`: 3507 for a blocked user, 3500 for a token that
        was taken back; `ClientFault` 100 while that cannot be known. The answer holds
        until the caller's next await.
        """
        asked_at = -1
        while asked_at != self._orders():
            asked_at = self._orders()
            if await self._is_blocked(claims.user):
                raise ClientDisconnect(DENIED)
            if has_token and await self._is_taken_back(
                claims.token_id, claims.issued_at, claims.user, channel=""
            ):
                raise ClientDisconnect(INVALID_TOKEN)

    async def check_subscription(self, claims: SubscriptionClaims) -> None:
        """For a subscription token; raises `ClientFault` 103, or 100 as above."""
        asked_at = -1
        while asked_at != self._orders():
            asked_at = self._orders()
            if await self._is_taken_back(
                claims.token_id, claims.issued_at, claims.user, channel=claims.channel
            ):
                raise ClientFault(PERMISSION_DENIED)

    async def _is_blocked(self, user: str) -> bool:
        if self._blocks is None or not user:
            return False
        return await _find(self._blocks, (DenialKind.USER, user)) is not None

    async def _is_taken_back(
        self, token_id: str, issued_at: int, user: str, *, channel: str
    ) -> bool:
        if self._revocations is not None and token_id:
            key = (DenialKind.TOKEN, token_id)
            if await _find(self._revocations, key) is not None:
                return True
        if self._invalidations is None or not user:
            return False
        key = (DenialKind.USER_TOKENS, token_key(user, channel))
        before = await _find(self._invalidations, key)
        # A token without `iat` has 0 here: it is older than any time.
        return before is not None and issued_at < before


async def _find(store: DenialStore, key: _Key) -> int | None:
    try:
        return (await store.fetch([key]))[0]
    except ApiError:
        raise ClientFault(INTERNAL) from None
