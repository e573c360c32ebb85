"""Huawei Push Kit (HMS), v1 by application and v2 by project, over HTTP/1.1.

Up to 1000 tokens travel in one request. It must not decide what follows from an
answer; `hms_answers.py` says what one means.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import orjson

from tocsin.config.hms import HmsSection
from tocsin.config.pasted import read_text
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.push import TargetKind
from tocsin.providers.chunks import Shape, send_batch
from tocsin.providers.client_credentials import ClientCredentials
from tocsin.providers.errors import check_settings
from tocsin.providers.hms_answers import is_stale_token, read_answer
from tocsin.providers.http1 import Answer, Http1Client, RequestFailed
from tocsin.providers.json_message import JsonTemplate
from tocsin.providers.outcomes import report_all

SECTION = "push_notifications.hms"
TOKENS_PER_REQUEST = 1000
"""Huawei's limit."""
TARGET_KEYS = frozenset({"token", "topic", "condition"})

_STOPPED = Outcome(Verdict.RETRY, "unauthenticated", "stopped before the token came")


class HmsProvider:
    """One application's way to Push Kit.

    With a `project_id` requests go to the v2 API, which several senders may share.
    """

    name = "hms"

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: str,
        project_id: str = "",
        auth_endpoint: str = "https://oauth-login.cloud.huawei.com",
        push_endpoint: str = "https://push-api.cloud.huawei.com",
        ca_file: str = "",
        batch_size: int = TOKENS_PER_REQUEST,
        max_connections: int = 8,
        integration: str = "hms",
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError`. Connects on demand."""
        check_settings(SECTION, app_id=app_id, app_secret=app_secret)
        self.integration = integration
        self.batch_size = min(batch_size, TOKENS_PER_REQUEST)
        version, owner = ("v2", project_id) if project_id else ("v1", app_id)
        self._url = f"{push_endpoint}/{version}/{quote(owner, safe='')}/messages:send"
        self._http = Http1Client(
            section=SECTION,
            ca_file=ca_file,
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._tokens = ClientCredentials(
            self._http, f"{auth_endpoint}/oauth2/v3/token", app_id, app_secret
        )

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        is_token = batch.kind is TargetKind.TOKEN
        # A topic or a condition stands alone in its request.
        size = self.batch_size if is_token else 1
        shape = Shape(self._http, size, TARGET_KEYS, validates=True)

        async def exchange(
            template: JsonTemplate, targets: Sequence[str]
        ) -> Outcome | list[Outcome]:
            answer = await self._post(_encode(template, batch, targets), pace)
            return read_answer(answer, targets)

        try:
            # Before the pace is asked, for a first token may take a while.
            await self._tokens.fetch()
        except RequestFailed as failure:
            report_all(batch.pending, failure.outcome, report)
            return
        await send_batch(batch, report, pace, shape, exchange)

    async def close(self) -> None:
        """As the port says."""
        await self._tokens.close()
        await self._http.close()

    async def _post(self, body: bytes, pace: Pace) -> Answer:
        """Send with an access token, and once more if that one is refused.

        A new one may take a while to come, so the pace is asked after that.
        """
        token = await self._tokens.fetch()
        answer = await self._post_with(token, body)
        if is_stale_token(answer):
            token = await self._tokens.renew(token)
            await _go_on(pace)
            answer = await self._post_with(token, body)
        return answer

    async def _post_with(self, token: str, body: bytes) -> Answer:
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json; charset=utf-8",
        }
        return await self._http.post(self._url, body, headers)


async def _go_on(pace: Pace) -> None:
    if not pace.ready() and not await pace.wait():
        raise RequestFailed(_STOPPED)


def _encode(template: JsonTemplate, batch: Batch, targets: Sequence[str]) -> bytes:
    is_token = batch.kind is TargetKind.TOKEN
    value = orjson.dumps(targets if is_token else targets[0])
    message = template.with_fields(b'"%b":%b' % (batch.kind.value.encode(), value))
    if batch.validate_only:
        return b'{"validate_only":true,"message":' + message + b"}"
    return b'{"message":' + message + b"}"


def build_hms(settings: HmsSection, integration: str) -> HmsProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return HmsProvider(
        app_id=read_text(settings.app_id),
        app_secret=read_text(settings.app_secret.get_secret_value()),
        project_id=read_text(settings.project_id),
        auth_endpoint=settings.auth_endpoint,
        push_endpoint=settings.push_endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
