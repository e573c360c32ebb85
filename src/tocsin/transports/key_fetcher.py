"""Transports room: fetches the documents with the public keys of tokens.

It must not read a key; `tocsin.channels.jwks` does.
"""

from __future__ import annotations

import asyncio

import aiohttp

from tocsin.core.ports.channels import JwksUnavailable

# As the published server: one second, two tries.
TIMEOUT_S = 1.0
TRIES = 2
MAX_BYTES = 1 << 20
MAX_REDIRECTS = 3


class HttpKeyFetcher:
    """`JwksFetcher` over HTTP; opens its session when the first key is needed."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str) -> bytes:
        """See the port."""
        reason = ""
        for _ in range(TRIES):
            try:
                return await self._fetch_once(url)
            except TimeoutError:
                reason = f"no answer within {self._timeout.total:g} s"
            except (aiohttp.ClientError, ValueError, OSError) as error:
                # The text of an error may hold more of the URL than a log may.
                reason = f"{type(error).__name__}"
                if isinstance(error, aiohttp.ClientResponseError) and error.status:
                    reason = f"HTTP status {error.status}"
        raise JwksUnavailable(reason)

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await asyncio.sleep(0)  # lets the transports end

    async def _fetch_once(self, url: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        async with self._session.get(
            url, max_redirects=MAX_REDIRECTS, raise_for_status=True
        ) as response:
            # One byte above the limit shows that it is exceeded; one `read` may return
            # less than there is.
            body = await response.content.read(MAX_BYTES + 1)
            while len(body) <= MAX_BYTES and not response.content.at_eof():
                body += await response.content.read(MAX_BYTES + 1 - len(body))
        if len(body) > MAX_BYTES:
            raise ValueError("the document is too large")
        return body
