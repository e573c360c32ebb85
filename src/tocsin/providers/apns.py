"""Apple's push service on the own HTTP/2 engine, with a key or with a certificate.

It says how APNs is asked and what its answers mean; the pump drives a batch. It must
not decide what follows from an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tocsin.config.apns import ApnsSection
from tocsin.config.pasted import read_text
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report, TokenStore
from tocsin.core.push import Body
from tocsin.http2 import Failure, Http2Pool, RequestHead, Response
from tocsin.providers.apns_answers import (
    EXPIRED_TOKEN,
    SPENT_CONNECTION,
    TOO_MANY_TOKENS,
    blame_certificate,
    classify,
    parse_reason,
    read_failure,
    read_success,
)
from tocsin.providers.apns_jwt import ApnsTokens
from tocsin.providers.apns_message import (
    find_path,
    headers_for,
    names_topic,
    validate,
)
from tocsin.providers.apns_setup import (
    CertAuth,
    TokenAuth,
    apns_auth,
    find_origin,
    load_identity,
    tell_expiry,
)
from tocsin.providers.outcomes import is_success, report_all
from tocsin.providers.process_tokens import ProcessTokenStore
from tocsin.providers.pump import Pump
from tocsin.providers.retry_after import in_seconds

MAX_STREAMS = 1000
"""Requests at once on a connection where the server's SETTINGS allow as many."""
_KEPT_HEADS = 64
_RETIRE_INTERVAL_S = 10.0
"""Seconds between two changes to new connections: Apple treats connecting and
disconnecting rapidly as abuse."""

TOKEN_TOO_YOUNG = Outcome(
    Verdict.MISCONFIGURED,
    "expired_provider_token",
    "a provider token made just now is called expired: is this machine's clock right?",
    slow_down=True,
)


class ApnsProvider:
    """One key's or certificate's way to APNs, over at most `max_connections`."""

    name = "apns"

    def __init__(
        self,
        *,
        auth: TokenAuth | CertAuth,
        tokens: TokenStore,
        bundle_id: str = "",
        endpoint: str = "development",
        ca_file: str = "",
        batch_size: int = 100,
        max_connections: int = 2,
        integration: str = "apns",
        request_timeout_s: float = 15,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads key or certificate; raises `ProviderSetupError`. Connects on demand."""
        self.integration = integration
        self.batch_size = batch_size
        self._origin = find_origin(endpoint)
        identity = load_identity(auth, bundle_id=bundle_id, ca_file=ca_file)
        tell_expiry(identity)
        self.topic = identity.topic
        self.credential_expires_at_s = identity.expires_at_s
        self._clock = clock
        key = identity.key
        self.tokens = ApnsTokens(key, tokens, clock=clock) if key else None
        self._pool = Http2Pool(
            self._origin,
            ssl_context=identity.tls,
            max_connections=max_connections,
            max_streams=MAX_STREAMS,
            # Apple allows one stream until the first request with a valid
            # token has succeeded.
            # A certificate is known before the first request, a token is not.
            initial_streams=1 if key else None,
            request_timeout_s=request_timeout_s,
        )
        self._heads: dict[tuple[tuple[str, str], ...], RequestHead] = {}
        self._heads_token = ""
        self._retired_at_s = 0.0

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        if batch.validate_only:
            validate(batch, self.topic, report)
            return
        if self._has_expired():
            report = _blaming_certificate(report)
        token = await self.tokens.fetch() if self.tokens is not None else ""
        exchange = _Conversation(self, batch, token)
        if batch.bodies is None:
            request = exchange.prepare(batch.body)
            if isinstance(request, Outcome):
                report_all(batch.pending, request, report)
                return
        pump = Pump(self._pool, exchange, batch.pending, report, pace, batch.priority)
        await pump.finish()

    def _has_expired(self) -> bool:
        ends_at_s = self.credential_expires_at_s
        return ends_at_s is not None and self._clock() >= ends_at_s

    async def close(self) -> None:
        """As the port says."""
        if self.tokens is not None:
            await self.tokens.close()
        await self._pool.aclose()

    def head_for(self, token: str, headers: Mapping[str, str]) -> RequestHead:
        """The head of these headers under this provider token, encoded once."""
        # Heads with an older token are of no more use. The bound is there
        # because headers may differ from message to message (a collapse id, an
        # expiration).
        if token != self._heads_token or len(self._heads) > _KEPT_HEADS:
            self._heads.clear()
            self._heads_token = token
        place = tuple(headers.items())
        head = self._heads.get(place)
        if head is None:
            full = {"authorization": f"bearer {token}"} if token else {}
            full |= headers
            head = RequestHead.build("POST", self._origin, "/", full)
            self._heads[place] = head
        return head

    def leave_connections(self) -> None:
        """Send what comes next on new connections, at most every 10 seconds.

        Those in use finish what is in flight; see `Http2Pool.retire`.
        """
        now_s = time.monotonic()
        if now_s - self._retired_at_s > _RETIRE_INTERVAL_S:
            self._retired_at_s = now_s
            self._pool.retire()


def _blaming_certificate(report: Report) -> Report:
    def blame(index: int, outcome: Outcome) -> None:
        report(index, blame_certificate(outcome))

    return blame


class _Conversation:
    """One batch in APNs' words, as the pump asks for it."""

    __slots__ = ("_batch", "_bodies", "_own_topic", "_prepared", "_provider", "_token")

    def __init__(self, provider: ApnsProvider, batch: Batch, token: str) -> None:
        self._provider = provider
        self._batch = batch
        self._bodies = batch.bodies
        self._token = token
        self._own_topic = names_topic(batch.body)
        self._prepared: tuple[RequestHead, bytes] | None = None

    def prepare(self, body: Body) -> tuple[RequestHead, bytes] | Outcome:
        """The request with this body, but for the device's path."""
        headers = headers_for(
            body, topic=self._provider.topic, deadline_ms=self._batch.deadline_ms
        )
        if isinstance(headers, Outcome):
            return headers
        prepared = self._provider.head_for(self._token, headers), body.message
        # One body for all: from one recipient to the next only the path
        # differs.
        if self._bodies is None:
            self._prepared = prepared
        return prepared

    def build(self, index: int) -> tuple[RequestHead, bytes] | Outcome:
        prepared = self._prepared
        if prepared is None:
            bodies = self._bodies
            body = self._batch.body if bodies is None else bodies[index]
            found = self.prepare(body)
            if isinstance(found, Outcome):
                return found
            prepared = found
        head, message = prepared
        return head.with_path(find_path(self._batch.targets[index])), message

    def read(self, index: int, answer: Response, *, renewed: bool) -> Outcome | None:  # noqa: ARG002 - of the port
        status = answer.status
        if is_success(status):
            return read_success(
                answer.header(b"apns-id"), answer.header(b"apns-unique-id")
            )
        reason, died_ms = parse_reason(answer.body)
        tokens = self._provider.tokens
        if tokens is not None:
            # `None` makes the pump renew and send again, once.
            if reason == EXPIRED_TOKEN and not renewed:
                return None
            if reason == TOO_MANY_TOKENS:
                tokens.keep_old(self._token)
        # The retry must not meet the same connection again.
        if reason in SPENT_CONNECTION:
            self._provider.leave_connections()
        wait = in_seconds(answer.header("retry-after"), answer.header("date"))
        return classify(status, reason, died_ms, wait, own_topic=self._own_topic)

    def read_failure(self, failure: Failure) -> Outcome:
        return read_failure(failure)

    async def renew(self) -> Outcome | None:
        tokens = self._provider.tokens
        token = await tokens.renew(self._token) if tokens is not None else None
        if token is None:
            return TOKEN_TOO_YOUNG
        self._token = token
        # Its head carries the refused token.
        self._prepared = None
        return None


def build_apns(
    settings: ApnsSection, integration: str, tokens: TokenStore | None
) -> PushProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    build: Callable[..., PushProvider] = ApnsProvider
    if settings.transport == "sdk":
        from tocsin.providers.apns_sdk import ApnsSdkProvider

        build = ApnsSdkProvider
    return build(
        auth=apns_auth(settings),
        tokens=tokens or ProcessTokenStore(),
        bundle_id=read_text(settings.bundle_id),
        endpoint=settings.endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
