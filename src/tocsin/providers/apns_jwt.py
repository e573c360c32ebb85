"""The provider token of one APNs key: signed here, shared by all processes.

Apple wants one token per key, renewed every 20 to 60 minutes and not more often. So a
process that finds the token old offers a fresh one to a store; the store takes one
offer, and all processes use that. Neither key nor token may reach a log line or an
outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tocsin.core.ports.providers import TOKEN_AHEAD_MS, SharedToken, TokenStore
from tocsin.providers.credential import InTask, Issued, RenewedCredential

RENEW_AGE_S = 45 * 60.0
"""Age at which a token is replaced; Apple refuses it from 60 minutes on."""
LAST_AGE_S = 57 * 60.0
"""Age up to which an old token is used while no new one can be had."""
LEAST_AGE_S = 20 * 60.0
"""Apple allows no new token before the last one has this age."""
_STORE_TTL_S = 3600.0
_STORE_WAIT_S = 5.0
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A .p8 key with the ids that Apple gave it and its owner."""

    team_id: str
    key_id: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def name(self) -> str:
        """What stands for it in a token store; another key has another name."""
        public = self.private.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        print_of = hashlib.sha256(public).hexdigest()[:16]
        return f"apns:{self.team_id}:{self.key_id}:{print_of}"

    def mint(self, now_s: float) -> SharedToken:
        """A token made at that Unix second (its fraction is dropped)."""
        made_at_s = int(now_s)
        token = jwt.encode(
            {"iss": self.team_id, "iat": made_at_s},
            self.private,
            algorithm="ES256",
            # As in Apple's own example: `alg` and `kid`, and no `typ`.
            headers={"typ": "", "kid": self.key_id},
            sort_headers=False,
        )
        return SharedToken(token, made_at_s * 1000)


class ApnsTokens:
    """The current token of one key, as this process knows it.

    `clock` gives Unix seconds, for Apple reads from the token when it was made.
    Belongs to one event loop.
    """

    def __init__(
        self,
        key: SigningKey,
        store: TokenStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._name = key.name
        self._store = store
        self._clock = clock
        self._current: SharedToken | None = None
        self._previous: SharedToken | None = None
        self._agreeing = InTask(self._agree)
        self._credential = RenewedCredential(self._agreeing, clock=clock)

    async def fetch(self) -> str:
        """The token to send with."""
        return await self._credential.fetch()

    async def renew(self, refused: str) -> str | None:
        """A token other than `refused`, which Apple calls expired.

        `None` where `refused` is too young to be replaced: then this machine's clock,
        or Apple's, is wrong, and one more token would be refused as one too many.
        """
        found = await self._credential.renew(refused)
        return found if found != refused else None

    async def close(self) -> None:
        """End an agreement that is under way."""
        await self._agreeing.close()

    def keep_old(self, refused: str) -> None:
        """Apple says that tokens change too often: back to the one before.

        Nothing new is offered until the newest has the least age that Apple allows.
        """
        current, previous = self._current, self._previous
        if current is None or current.value != refused:
            return
        until_s = current.made_at_ms / 1000 + LEAST_AGE_S
        if previous is not None and self._age_s(previous) < LAST_AGE_S:
            # Not longer than Apple takes the old one.
            until_s = min(until_s, previous.made_at_ms / 1000 + LAST_AGE_S)
            current = self._current = previous
            self._previous = None
        self._credential.take(_issue(current, until_s))
        _log.warning(
            "APNs sees this key's token change too often: does something else send"
            " with the same key? The old token is used again",
            team_id=self._key.team_id,
            key_id=self._key.key_id,
        )

    def _age_s(self, token: SharedToken) -> float:
        return self._clock() - token.made_at_ms / 1000

    async def _agree(self, refused: str) -> Issued:
        """Offer a fresh token, and take what all agree on."""
        now_s, current = self._clock(), self._current
        # Which token of the store will do: one that is not due for renewal, or,
        # after a refusal, one that is newer than the refused.
        made_after_s = now_s - RENEW_AGE_S
        if current is not None and current.value == refused:
            made_after_s = current.made_at_ms / 1000
        offered = self._key.mint(now_s)
        try:
            # Whole batches wait for this.
            async with asyncio.timeout(_STORE_WAIT_S):
                agreed = await self._store.agree(
                    self._name,
                    offered,
                    made_after_ms=int(made_after_s * 1000),
                    ttl_s=_STORE_TTL_S,
                )
        except Exception as error:  # noqa: BLE001 - a store that is away must not stop the sending
            agreed = self._do_without_store(offered, error)
        # It becomes a header value, so nothing but a token may be used.
        if not _TOKEN.fullmatch(agreed.value):
            agreed = offered  # somebody else wrote into the store
        if current is None or agreed.value != current.value:
            # The previous one is kept for `keep_old`.
            self._previous, self._current = current, agreed
        # A token that is old already (without the store) is used for another moment
        # before the store is asked again.
        made_at_s = agreed.made_at_ms / 1000
        return _issue(
            agreed, max(made_at_s + RENEW_AGE_S, self._clock() + _STORE_WAIT_S)
        )

    def _do_without_store(self, offered: SharedToken, error: Exception) -> SharedToken:
        current = self._current
        usable = current is not None and self._age_s(current) < LAST_AGE_S
        _log.warning(
            "workers cannot agree on the APNs token: "
            + ("the old one is used on" if usable else "this one uses its own"),
            team_id=self._key.team_id,
            key_id=self._key.key_id,
            reason=str(error) or type(error).__name__,
        )
        return current if usable and current is not None else offered


def _issue(token: SharedToken, renew_at_s: float) -> Issued:
    """The token up to `renew_at_s`, when it both ends and is renewed.

    Were it given out while the next is agreed on, two tokens would be in use at once.
    """
    made_at_s = token.made_at_ms / 1000
    return Issued(
        token.value,
        renew_at_s,
        ends_at_s=renew_at_s,
        # A clock that stands before this was set back: then the token's age is
        # unknown.
        since_s=made_at_s - TOKEN_AHEAD_MS / 1000,
        # Apple allows no newer token before that age, so a refusal brings none.
        held_from_s=-math.inf,
        held_until_s=made_at_s + LEAST_AGE_S,
    )
