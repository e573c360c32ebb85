"""An HTTP endpoint of the operator's own: one signed POST for each recipient.

Any 2xx is a success. It must not decide what follows from an answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

import orjson

from tocsin.config.raw_push import PushWebhookSection
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.providers import answer_class
from tocsin.providers.answer_class import AnswerClass, class_of_status, outcome_of
from tocsin.providers.chunks import Shape, send_batch
from tocsin.providers.errors import check_settings
from tocsin.providers.http1 import Answer, Http1Client
from tocsin.providers.json_message import JsonTemplate, parse_object
from tocsin.providers.outcomes import is_success, read_id

BY_STATUS: Mapping[int, AnswerClass] = {
    **answer_class.BY_STATUS,
    # The address may be wrong, or the endpoint may not know this one recipient:
    # it is tried again, and the others are not held up.
    404: AnswerClass(Verdict.MISCONFIGURED, "not_found"),
    410: AnswerClass(Verdict.MISCONFIGURED, "gone"),
}

# Novu's header name, so that endpoints written for Novu's webhook provider work.
SIGNATURE = "x-novu-signature"
"""Lower-case hex of HMAC-SHA256 over the exact bytes of the body."""
SECTION = "push_notifications.push_webhook"
_MESSAGE_ID_LIMIT = 255


class PushWebhookProvider:
    """One endpoint and the secret that it checks signatures with."""

    name = "push-webhook"

    def __init__(
        self,
        *,
        url: str,
        secret: str,
        ca_file: str = "",
        batch_size: int = 100,
        max_connections: int = 16,
        integration: str = "push-webhook",
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError`. Connects on demand."""
        check_settings(SECTION, url=url, secret=secret)
        self.integration = integration
        self.batch_size = batch_size
        self._url = url
        self._secret = secret.encode()
        self._http = Http1Client(
            section=SECTION,
            ca_file=ca_file,
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._shape = Shape(self._http, 1, frozenset({"target"}))

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        await send_batch(batch, report, pace, self._shape, self._exchange)

    async def close(self) -> None:
        """As the port says."""
        await self._http.close()

    async def _exchange(
        self, template: JsonTemplate, targets: Sequence[str]
    ) -> Outcome:
        body = template.with_fields(b'"target":' + orjson.dumps(targets))
        headers = {
            "content-type": "application/json",
            SIGNATURE: hmac.new(self._secret, body, hashlib.sha256).hexdigest(),
        }
        return read_answer(await self._http.post(self._url, body, headers), targets)


def read_answer(answer: Answer, targets: Sequence[str]) -> Outcome:
    """A success may name its message in a JSON field `id`."""
    fields = parse_object(answer.body)
    if is_success(answer.status):
        message_id = read_id(fields.get("id"))[:_MESSAGE_ID_LIMIT]
        return Outcome(Verdict.DELIVERED, message_id=message_id)
    found = class_of_status(answer.status, BY_STATUS)
    text = fields.get("message") or fields.get("error") or ""
    return outcome_of(found, answer, str(text), targets)


def build_push_webhook(
    settings: PushWebhookSection, integration: str
) -> PushWebhookProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return PushWebhookProvider(
        url=settings.url,
        secret=settings.secret.get_secret_value(),
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
