"""HTTP/1.1 for the push services that speak nothing newer, on aiohttp.

One POST in, one answer or one fault out; it must not read what an answer says.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tocsin.core.outcome import Outcome, Verdict
from tocsin.http_edge.inside import ListeningConnector, status_said
from tocsin.providers.errors import explain_trust
from tocsin.providers.files import add_trust
from tocsin.providers.outcomes import is_success
from tocsin.providers.retry_after import in_seconds
from tocsin.providers.slots import Slots

ANSWER_LIMIT = 1 << 20
"""Bytes of an answer that are read; no push service has more to say."""

_FOREIGN: tuple[tuple[type[BaseException], str, bool], ...] = (
    # The order matters: subclasses stand before their bases.
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

_CONNECT_TIMEOUT_S = 4.0
"""Seconds to connect to one address, TLS included: time is left for another one."""
_CONNECT_TRIES = 3

_CAUGHT = tuple(kind for kind, _, _ in _FOREIGN)
_DETAIL_LIMIT = 300


class RequestFailed(Exception):
    """No usable answer; every recipient of the request gets `outcome`."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.detail)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `retry_after` is the header's text.

    The body of a success may be cut.
    """

    status: int
    body: bytes
    retry_after: str | None = None


class Http1Client:
    """Keeps connections to one service and bounds the requests under way.

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
            total=request_timeout_s,
            sock_connect=min(_CONNECT_TIMEOUT_S, request_timeout_s / _CONNECT_TRIES),
        )
        self._resolver = _Turning()
        self.max_connections = max_connections
        self.slots = Slots(max_connections)
        """Each sender holds one while it sends, so that no request waits for a
        connection within its own timeout."""
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send and read the answer, of any status; raises `RequestFailed`.

        A success is an answer even if its body is cut or cannot be decoded: what was
        asked for is done, and must not be asked for again. When an address of the
        service never answers, the next one is tried.
        """
        for tries_left in reversed(range(_CONNECT_TRIES)):
            try:
                return await self._post(url, body, headers)
            except aiohttp.ConnectionTimeoutError as error:
                if not tries_left or not self._resolver.turn():
                    raise RequestFailed(_outcome_of(error)) from None
        raise AssertionError  # the last try has returned or raised

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One try. A `ConnectionTimeoutError` may be tried at another address."""
        read = _Body()
        status, retry_after = 0, None
        try:
            async with self._open().post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                retry_after = in_seconds(
                    response.headers.get("retry-after"), response.headers.get("date")
                )
                read.encoding = response.headers.get("content-encoding", "")
                await read.take(response.content)
                return Answer(status, read.decoded(), retry_after)
        except aiohttp.ConnectionTimeoutError:
            raise
        except _CAUGHT as error:
            # The status may have come before the fault, also where aiohttp
            # gave no response.
            status = status or status_said(error)
            if is_success(status):
                return Answer(status, read.decoded(), retry_after)
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
                connector=ListeningConnector(
                    limit=0,
                    ssl=self._trust,
                    resolver=self._resolver,
                    use_dns_cache=False,
                ),
                timeout=self._timeout,
                # Answers are small, and one that cannot be unpacked still counts.
                auto_decompress=False,
                headers={"accept-encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _Turning(AbstractResolver):
    """The system's resolver, with another address first after each `turn`.

    aiohttp tries addresses in parallel, but keeps the first that accepts a connection;
    when that one then stays silent, another one has to come first.
    """

    def __init__(self) -> None:
        self._first = 0
        self._count = 0

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """As aiohttp asks for it."""
        found = await aiohttp.ThreadedResolver().resolve(
            host, port, socket.AddressFamily(family)
        )
        self._count = len(found)
        first = self._first % (len(found) or 1)
        return [*found[first:], *found[:first]]

    def turn(self) -> bool:
        """Begin with the next address from now on; False where there is no other."""
        self._first += 1
        return self._count > 1

    async def close(self) -> None:
        """Nothing is kept open."""


def _load_trust(section: str, ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    add_trust(context, section, ca_file)
    return context


class _Body:
    """As much of a body as arrived."""

    def __init__(self) -> None:
        self.encoding = ""
        self._parts: list[bytes] = []
        self._size = 0

    async def take(self, content: aiohttp.StreamReader) -> None:
        """Read to the end; what was read before a fault stays."""
        async for part in content.iter_any():
            self._parts.append(part)
            self._size += len(part)
            if self._size > ANSWER_LIMIT:
                raise aiohttp.ClientPayloadError("the answer is too long")

    def decoded(self) -> bytes:
        """What arrived, unpacked; empty where the encoding is unknown."""
        raw = b"".join(self._parts)
        if self.encoding.strip().lower() in ("", "identity"):
            return raw
        try:  # gzip or zlib, by its first bytes
            return zlib.decompressobj(wbits=47).decompress(raw, ANSWER_LIMIT)
        except zlib.error:
            return b""


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
