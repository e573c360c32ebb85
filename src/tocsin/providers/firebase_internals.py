"""All that depends on firebase-admin's internals, which are no public interface.

The SDK has no option for its endpoint, trust or retries, and takes typed messages
only; nothing of it is patched. A test names what a new version changes.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import firebase_admin
import httpx
from firebase_admin import _http_client, _retry, messaging
from google.auth.credentials import Credentials

Hooks = Mapping[str, list[Callable[..., Awaitable[None]]]]
"""What httpx calls with each request and each response."""


class MessagingService(messaging._MessagingService):  # type: ignore[misc] # ships no types
    """The SDK's service with another address, which takes messages as they are."""

    def __init__(
        self,
        app: firebase_admin.App,
        url: str,
        trust: ssl.SSLContext,
        timeout_s: float,
        hooks: Hooks,
    ) -> None:
        super().__init__(app)
        self._fcm_url = url
        self._async_client = _HttpClient(self._credential, trust, timeout_s, hooks)

    def _message_data(self, message: dict[str, Any], dry_run: bool) -> dict[str, Any]:
        data: dict[str, Any] = {"message": message}
        if dry_run:
            data["validate_only"] = True
        return data

    async def aclose(self) -> None:
        """Close the connections of both clients, the async and the blocking one.

        The SDK's own `close` would start a loop of its own.
        """
        await self._async_client.aclose()
        self._client.close()


class _HttpClient(_http_client.HttpxAsyncClient):  # type: ignore[misc] # ships no types
    """The SDK's client with our trust, and without its own retries and back-off."""

    def __init__(
        self,
        credential: Credentials,
        trust: ssl.SSLContext,
        timeout_s: float,
        hooks: Hooks,
    ) -> None:
        transport = _retry.HttpxRetryTransport(
            retry=_retry.HttpxRetry(max_retries=0), verify=trust
        )
        # The library's own constructor would open a client with another trust.
        self._base_url = ""
        self._timeout = timeout_s
        self._async_client = httpx.AsyncClient(
            transport=transport,
            timeout=timeout_s,
            headers=_http_client.METRICS_HEADERS,
            auth=_http_client.GoogleAuthCredentialFlow(credential),
            event_hooks=hooks,
        )
