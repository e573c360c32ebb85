"""Firebase Cloud Messaging, HTTP v1, on the own HTTP/2 engine.

It says how FCM is asked and what its answers mean; the pump drives a batch. It must
not decide what follows from an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tocsin.config.fcm import FcmSection
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report
from tocsin.http2 import Failure, Http2Pool, RequestHead, Response
from tocsin.providers.credential import RenewedCredential
from tocsin.providers.fcm_answers import (
    classify,
    is_stale_access_token,
    read_success,
)
from tocsin.providers.fcm_message import BodyTemplate, InvalidMessage, RenderedBodies
from tocsin.providers.fcm_setup import CREDENTIALS_KEY, SECTION, check_endpoint
from tocsin.providers.files import load_trust
from tocsin.providers.google_token import (
    TokenFailure,
    load_service_account,
    share_access_tokens,
)
from tocsin.providers.outcomes import is_success, report_all
from tocsin.providers.pump import Pump, failure_outcome
from tocsin.providers.retry_after import in_seconds


class FcmProvider:
    """One service account's way to FCM over at most `max_connections` connections."""

    name = "fcm"

    def __init__(
        self,
        *,
        credentials_file: str,
        endpoint: str = "https://fcm.googleapis.com",
        ca_file: str = "",
        batch_size: int = 500,
        max_connections: int = 2,
        integration: str = "fcm",
        request_timeout_s: float = 15,
    ) -> None:
        """Reads the account file; raises `ProviderSetupError`. Connects on demand."""
        self.integration = integration
        self.batch_size = batch_size
        self._origin = check_endpoint(endpoint)
        account = load_service_account(credentials_file, CREDENTIALS_KEY)
        self._path = f"/v1/projects/{account.project_id}/messages:send"
        self._tokens = share_access_tokens(account, ca_file)
        self._pool = Http2Pool(
            self._origin,
            ssl_context=load_trust(SECTION, ca_file),
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._head: tuple[str, RequestHead] | None = None

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        try:
            build = _builder(batch)
        except InvalidMessage as wrong:
            report_all(batch.pending, _invalid(wrong), report)
            return
        try:
            token = await self._tokens.fetch()
        except TokenFailure as failure:
            report_all(batch.pending, failure.outcome, report)
            return
        exchange = _Conversation(self, batch.targets, build, token)
        pump = Pump(self._pool, exchange, batch.pending, report, pace, batch.priority)
        await pump.finish()

    async def close(self) -> None:
        """As the port says."""
        await self._pool.aclose()

    def head_for(self, token: str) -> RequestHead:
        """The request head with this access token, encoded once per token."""
        if self._head is None or self._head[0] != token:
            headers = {
                "authorization": f"Bearer {token}",
                "content-type": "application/json",
            }
            head = RequestHead.build("POST", self._origin, self._path, headers)
            self._head = (token, head)
        return self._head[1]

    @property
    def tokens(self) -> RenewedCredential:
        """The access tokens that all batches share."""
        return self._tokens


class _Conversation:
    """One batch in FCM's words, as the pump asks for it."""

    __slots__ = ("_build", "_head", "_provider", "_targets", "_token")

    def __init__(
        self,
        provider: FcmProvider,
        targets: Sequence[str],
        build: Callable[[int], bytes],
        token: str,
    ) -> None:
        self._provider = provider
        self._targets = targets
        self._build = build
        self._token = token
        self._head = provider.head_for(token)

    def build(self, index: int) -> tuple[RequestHead, bytes] | Outcome:
        try:
            return self._head, self._build(index)
        except InvalidMessage as wrong:  # of one recipient's own message
            return _invalid(wrong)

    def read(self, index: int, answer: Response, *, renewed: bool) -> Outcome | None:
        status, body = answer.status, answer.body
        if is_success(status):
            return read_success(body)
        # `None` makes the pump renew and send again, once.
        if status == 401 and not renewed and is_stale_access_token(status, body):
            return None
        wait = in_seconds(answer.header("retry-after"), answer.header("date"))
        return classify(status, body, wait, self._targets[index])

    def read_failure(self, failure: Failure) -> Outcome:
        return failure_outcome(failure)

    async def renew(self) -> Outcome | None:
        try:
            token = await self._provider.tokens.renew(self._token)
        except TokenFailure as failure:
            return failure.outcome
        self._head = self._provider.head_for(token)
        return None


def _builder(batch: Batch) -> Callable[[int], bytes]:
    """How the body for an index is made; raises `InvalidMessage` of a shared one."""
    targets, bodies = batch.targets, batch.bodies
    if bodies is None:
        template = BodyTemplate(
            batch.body.message, batch.kind, validate_only=batch.validate_only
        )
        return lambda index: template.build(targets[index])
    rendered = RenderedBodies(batch.kind, validate_only=batch.validate_only)
    return lambda index: rendered.build(bodies[index].message, targets[index])


def _invalid(wrong: InvalidMessage) -> Outcome:
    return Outcome(Verdict.REJECTED, "invalid_message", str(wrong), of_body=True)


def build_fcm(settings: FcmSection, integration: str) -> PushProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    build: Callable[..., PushProvider] = FcmProvider
    if settings.transport == "sdk":
        from tocsin.providers.fcm_sdk import FcmSdkProvider

        build = FcmSdkProvider
    return build(
        credentials_file=settings.credentials_file,
        endpoint=settings.endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
