"""HTTP/1.1 for the push services that speak nothing newer, on aiohttp.

One POST in, one answer or one fault out; it must not read what an answer says.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from tocsin.config.showing import show_path
from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.errors import ProviderSetupError, explain_trust

ANSWER_LIMIT = 1 << 20
"""Bytes of an answer that are read; no push service has more to say."""

_FOREIGN: tuple[tuple[type[BaseException], str, bool], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect_failed", False),
    (aiohttp.ClientConnectorError, "connect_failed", False),
    (TimeoutError, "timeout", True),
    (aiohttp.ServerDisconnectedError, "connection_closed", True),
    (aiohttp.ClientPayloadError, "connection_closed", True),
    (aiohttp.ClientConnectionError, "connection_closed", True),
    (aiohttp.ClientError, "bad_answer", True),
    (OSError, "connection_closed", True),
)
"""Exception, code, whether the request may have arrived; the first match counts."""

_CAUGHT = tuple(kind for kind, _, _ in _FOREIGN)
_DETAIL_LIMIT = 300


class RequestFailed(Exception):
    """No usable answer; `outcome` is that of everybody in the request."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.detail)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `retry_after` is the header's text."""

    status: int
    body: bytes
    retry_after: str | None = None


class Http1Client:
    """Keeps connections to one service and bounds how many requests are under way.

    `section` is the configuration section that `ca_file` belongs to. Redirects are
    never followed: an answer that asks for one is an answer.
    """

    def __init__(
        self,
        *,
        section: str,
        ca_file: str = "",
        max_connections: int = 8,
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError` for a `ca_file` that is no PEM."""
        self._trust = _load_trust(section, ca_file)
        self._timeout = aiohttp.ClientTimeout(
            total=request_timeout_s, sock_connect=min(10.0, request_timeout_s)
        )
        self.max_connections = max_connections
        self.slots = asyncio.Semaphore(max_connections)
        """Who sends holds one; so a request never waits for a connection inside
        its own timeout."""
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send and read the whole answer, of any status; raises `RequestFailed`."""
        try:
            async with self._open().post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return Answer(
                    response.status,
                    await _read(response.content),
                    response.headers.get("retry-after"),
                )
        except _CAUGHT as error:
            raise RequestFailed(_outcome_of(error)) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        # Not in __init__: a session belongs to the loop that runs by then.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Without a limit: `slots` is the limit, and a token request may
                # come on top while all of them are taken.
                connector=aiohttp.TCPConnector(limit=0, ssl=self._trust),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _load_trust(section: str, ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is one
            reason = str(error) if isinstance(error, OSError) else "not a path"
            raise ProviderSetupError(
                f"{section}.ca_file", f"cannot use {show_path(ca_file)}: {reason}"
            ) from None
    return context


async def _read(content: aiohttp.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return b"".join(parts)


def _outcome_of(error: BaseException) -> Outcome:
    code, maybe_sent = next(
        (code, maybe_sent)
        for kind, code, maybe_sent in _FOREIGN
        if isinstance(error, kind)
    )
    detail = type(error).__name__
    if not maybe_sent:
        # Names the host and the reason; texts of other faults may hold a URL.
        detail = explain_trust(f"{detail}: {error}"[:_DETAIL_LIMIT])
    return Outcome(Verdict.RETRY, code, detail, maybe_sent=maybe_sent)
