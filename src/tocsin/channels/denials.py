"""Channels room: is a good token still welcome.

It must not verify tokens; it asks only what was denied after they were issued.

A token is taken back in two steps: it is written down, then nodes are told to close
what it opened. Whoever is between the question and the open door hears neither; so
the question is asked again when the node was told something meanwhile.
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

    While a store is away nobody is let in: clients get a temporary error and try
    again. `orders` counts what this node was told about connections.
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
        was taken back; `ClientFault` 100 while that cannot be known. Right after it
        nothing has been missed.
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
        return before is not None and issued_at < before


async def _find(store: DenialStore, key: _Key) -> int | None:
    try:
        return (await store.fetch([key]))[0]
    except ApiError:
        raise ClientFault(INTERNAL) from None
