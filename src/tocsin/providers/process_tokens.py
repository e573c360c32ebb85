"""`TokenStore` for one process: what its providers share where nothing else is shared.

It must not be used where several processes send through one credential.
"""

from __future__ import annotations

from tocsin.core.clock import SystemClock
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.providers import TOKEN_AHEAD_MS, SharedToken


class ProcessTokenStore:
    """Tokens in memory. Belongs to one event loop."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._standing: dict[str, tuple[SharedToken, float]] = {}

    async def agree(
        self, name: str, offered: SharedToken, *, made_after_ms: int, ttl_s: float
    ) -> SharedToken:
        """See the port."""
        now_ms = self._clock.now_ms()
        latest_ms = now_ms + TOKEN_AHEAD_MS
        standing = self._standing.get(name)
        if standing is not None:
            token, ends_at_ms = standing
            if made_after_ms < token.made_at_ms <= latest_ms and ends_at_ms > now_ms:
                return token
        # From a wrong clock: the offerer may try it, but nobody else gets it.
        if offered.made_at_ms > latest_ms:
            return offered
        self._standing[name] = (offered, now_ms + ttl_s * 1000)
        return offered
