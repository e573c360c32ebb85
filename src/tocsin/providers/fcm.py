"""Firebase Cloud Messaging, HTTP v1, on the own HTTP/2 engine.

No task and no exception per recipient: requests are handed to the pool and answers
come back as calls. It must not decide what follows from an answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports import Batch, Pace, Report
from tocsin.http2 import (
    Failure,
    FailureKind,
    Http2ConnectError,
    Http2Pool,
    RequestHead,
    Response,
)
from tocsin.providers.fcm_answers import (
    classify,
    is_stale_access_token,
    read_success,
)
from tocsin.providers.fcm_message import BodyTemplate, InvalidMessage
from tocsin.providers.fcm_setup import (
    CREDENTIALS_KEY,
    check_endpoint,
    load_trust,
)
from tocsin.providers.google_token import (
    AccessTokens,
    TokenFailure,
    load_service_account,
    share_access_tokens,
)
from tocsin.providers.outcomes import report_all

_FAILURE_CODES = {
    FailureKind.CONNECT: "connect_failed",
    FailureKind.TIMEOUT: "timeout",
    FailureKind.RESET: "stream_reset",
    FailureKind.CLOSED: "connection_closed",
    FailureKind.REFUSED: "stream_refused",
    FailureKind.PROTOCOL: "protocol_error",
}
_STOPPED = Outcome(Verdict.RETRY, "unauthenticated", "stopped before the token renewed")


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
            ssl_context=load_trust(ca_file),
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._head: tuple[str, RequestHead] | None = None

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        try:
            template = BodyTemplate(
                batch.body.message, batch.kind, validate_only=batch.validate_only
            )
        except InvalidMessage as wrong:
            outcome = Outcome(Verdict.REJECTED, "invalid_message", str(wrong))
            report_all(batch.pending, outcome, report)
            return
        try:
            token = await self._tokens.fetch()
        except TokenFailure as failure:
            report_all(batch.pending, failure.outcome, report)
            return
        await _Run(self, batch, template, token, report, pace).finish()

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
    def pool(self) -> Http2Pool:
        """The connections that all batches share."""
        return self._pool

    @property
    def tokens(self) -> AccessTokens:
        """The access tokens that all batches share."""
        return self._tokens


class _Run:
    """One batch on its way: what is still to start, in flight, or to start again."""

    __slots__ = (
        "_head",
        "_idle",
        "_in_flight",
        "_pace",
        "_provider",
        "_refused",
        "_renewed",
        "_report",
        "_stopped",
        "_targets",
        "_template",
        "_todo",
        "_token",
    )

    def __init__(
        self,
        provider: FcmProvider,
        batch: Batch,
        template: BodyTemplate,
        token: str,
        report: Report,
        pace: Pace,
    ) -> None:
        self._provider = provider
        self._targets = batch.targets
        self._todo = deque(batch.pending)
        self._template = template
        self._token = token
        self._head = provider.head_for(token)
        self._report = report
        self._pace = pace
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._refused: list[int] = []
        self._renewed = self._stopped = False

    async def finish(self) -> None:
        """Send everything that the pace lets through, then wait for all answers."""
        try:
            while True:
                await self._pump()
                if not (self._refused and not self._stopped):
                    await self._land()
                if not self._refused:
                    return
                if self._stopped:
                    self._give_up(_STOPPED)
                else:
                    await self._renew()
        except BaseException:
            # Answers may still come in; nobody is there to hear of them.
            self._report = _ignore
            raise

    async def _pump(self) -> None:
        """Start requests until none is left, the pace stops, or a token is refused."""
        pool, pace, todo, targets = (
            self._provider.pool,
            self._pace,
            self._todo,
            self._targets,
        )
        build, head, renewed = self._template.build, self._head, self._renewed
        while todo:
            if not pool.room():
                try:
                    await pool.wait_room()
                except Http2ConnectError as error:
                    self._give_up(Outcome(Verdict.RETRY, "connect_failed", str(error)))
                    return
            elif not pace.ready():
                if not await pace.wait():
                    self._stopped = True
                    todo.clear()
            elif self._refused:
                return
            else:
                index = todo.popleft()
                self._in_flight += 1
                done = partial(self._done, index, renewed)
                pool.submit(head, build(targets[index]), done)

    def _done(self, index: int, renewed: bool, result: Response | Failure) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if isinstance(result, Failure):
            self._report(index, _failure_outcome(result))
            return
        status, body = result.status, result.body
        if status == 200:
            self._report(index, read_success(body))
        elif status == 401 and not renewed and is_stale_access_token(status, body):
            self._refused.append(index)
        else:
            wait = result.header("retry-after")
            self._report(index, classify(status, body, wait, self._targets[index]))

    async def _land(self) -> None:
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def _renew(self) -> None:
        """Put the refused ones back in front, to go out with a new access token."""
        if not self._renewed:
            try:
                token = await self._provider.tokens.renew(self._token)
            except TokenFailure as failure:
                self._give_up(failure.outcome)
                return
            self._head = self._provider.head_for(token)
            self._renewed = True
        self._todo.extendleft(reversed(self._refused))
        self._refused.clear()

    def _give_up(self, outcome: Outcome) -> None:
        """Report all that is not in flight, so that nothing is left to start."""
        rest = [*self._refused, *self._todo]
        self._refused.clear()
        self._todo.clear()
        report_all(rest, outcome, self._report)


def _failure_outcome(failure: Failure) -> Outcome:
    return Outcome(
        Verdict.RETRY,
        _FAILURE_CODES[failure.kind],
        failure.detail,
        maybe_sent=failure.maybe_sent,
    )


def _ignore(_index: int, _outcome: Outcome) -> None:
    """The report of a batch that was cancelled."""
