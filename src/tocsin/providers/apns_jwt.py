"""The provider token of one APNs key: signed here, agreed on with everybody else.

Apple wants one token per key, renewed every 20 to 60 minutes and not more often. So
whoever finds it old offers a fresh one, and all use the one that was taken. Neither
key nor token may reach a log line or an outcome.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import structlog
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tocsin.core.ports.providers import TOKEN_AHEAD_MS, SharedToken, TokenStore

RENEW_AGE_S = 45 * 60.0
"""Age at which a token is replaced; Apple refuses it from 60 minutes on."""
LAST_AGE_S = 57 * 60.0
"""Age up to which an old token is used while no new one can be had."""
LEAST_AGE_S = 20 * 60.0
"""Apple allows no new token before the last one has this age."""
_STORE_TTL_S = 3600.0
_STORE_WAIT_S = 5.0
_NUMBER_BYTES = 32
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
        head = {"alg": "ES256", "kid": self.key_id}
        claims = {"iss": self.team_id, "iat": made_at_s}
        text = b".".join((_encode(orjson.dumps(head)), _encode(orjson.dumps(claims))))
        r, s = decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = b"".join(n.to_bytes(_NUMBER_BYTES, "big") for n in (r, s))
        token = b".".join((text, _encode(signature)))
        return SharedToken(token.decode(), made_at_s * 1000)


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class ProviderTokens:
    """The current token of one key, as this process knows it.

    `clock` gives Unix seconds. Belongs to one event loop.
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
        self._renew_at_s = 0.0
        self._lock = asyncio.Lock()

    async def fetch(self) -> str:
        """The token to send with."""
        current = self._current
        if current is not None and not self._is_due(current):
            return current.value
        async with self._lock:
            current = self._current
            now_s = self._clock()
            if current is None or self._is_due(current):
                current = await self._agree(now_s - RENEW_AGE_S)
            return current.value

    async def renew(self, refused: str) -> str | None:
        """A token other than `refused`, which Apple calls expired.

        `None` where it is too young to be replaced: then this machine's clock, or
        Apple's, is wrong, and one more token would only be refused as too many.
        """
        async with self._lock:
            current = self._current
            if current is None or current.value != refused:
                return current.value if current is not None else None
            if self._age_s(current) < LEAST_AGE_S:
                return None
            agreed = await self._agree(current.made_at_ms / 1000)
            return agreed.value if agreed.value != refused else None

    def keep_old(self, refused: str) -> None:
        """Apple says that tokens change too often: back to the one before.

        Nothing new is offered until the newest has the least age that Apple allows.
        """
        current, previous = self._current, self._previous
        if current is None or current.value != refused:
            return
        until_s = current.made_at_ms / 1000 + LEAST_AGE_S
        if previous is not None and self._age_s(previous) < LAST_AGE_S:
            self._current, self._previous = previous, None
            until_s = min(until_s, previous.made_at_ms / 1000 + LAST_AGE_S)
        self._renew_at_s = until_s
        _log.warning(
            "APNs sees this key's token change too often: does something else send"
            " with the same key? The old token is used again",
            team_id=self._key.team_id,
            key_id=self._key.key_id,
        )

    def _is_due(self, token: SharedToken) -> bool:
        """Whether to look for another: it is old, or this clock was set back."""
        ahead_s = token.made_at_ms / 1000 - self._clock()
        return self._clock() >= self._renew_at_s or ahead_s > TOKEN_AHEAD_MS / 1000

    def _age_s(self, token: SharedToken) -> float:
        return self._clock() - token.made_at_ms / 1000

    async def _agree(self, made_after_s: float) -> SharedToken:
        """Offer a fresh token, and take what all agree on."""
        now_s = self._clock()
        offered = self._key.mint(now_s)
        try:
            async with asyncio.timeout(_STORE_WAIT_S):
                agreed = await self._store.agree(
                    self._name,
                    offered,
                    made_after_ms=int(made_after_s * 1000),
                    ttl_s=_STORE_TTL_S,
                )
        except Exception as error:  # noqa: BLE001 - a store that is away must not stop the sending
            agreed = self._do_without_store(offered, error)
        if not _TOKEN.fullmatch(agreed.value):
            agreed = offered  # somebody else wrote into the store
        self._take(agreed)
        return agreed

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

    def _take(self, token: SharedToken) -> None:
        if self._current is None or token.value != self._current.value:
            self._previous, self._current = self._current, token
        made_at_s = token.made_at_ms / 1000
        # One that is old already stays for a while: the store may be back then.
        self._renew_at_s = max(made_at_s + RENEW_AGE_S, self._clock() + _STORE_WAIT_S)
