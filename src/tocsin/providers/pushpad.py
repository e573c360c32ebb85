"""Pushpad: one notification to many users of a project.

The answer says which of them can be reached. It must not decide what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import orjson

from tocsin.config.pasted import read_text
from tocsin.config.raw_push import PushpadSection
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.providers.answer_class import (
    BY_STATUS,
    class_of_status,
    outcome_of,
)
from tocsin.providers.chunks import Shape, send_batch
from tocsin.providers.errors import check_settings
from tocsin.providers.http1 import Answer, Http1Client
from tocsin.providers.json_message import JsonTemplate, parse_object
from tocsin.providers.outcomes import ACCEPTED, is_success, read_id

NOT_SUBSCRIBED = Outcome(Verdict.REJECTED, "not_subscribed", "no browser subscribed")
"""Who has no subscription now may subscribe again: no reason to forget the device."""

SECTION = "push_notifications.pushpad"
UIDS_PER_REQUEST = 1000
TARGET_KEYS = frozenset({"uids"})
"""They must never be left out: without them Pushpad sends to everybody."""


class PushpadProvider:
    """One Pushpad project; its statuses mean what HTTP says (`BY_STATUS`)."""

    name = "pushpad"

    def __init__(
        self,
        *,
        auth_token: str,
        project_id: str,
        endpoint: str = "https://pushpad.xyz",
        ca_file: str = "",
        batch_size: int = UIDS_PER_REQUEST,
        max_connections: int = 4,
        integration: str = "pushpad",
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError`. Connects on demand."""
        check_settings(SECTION, auth_token=auth_token, project_id=project_id)
        self.integration = integration
        self.batch_size = min(batch_size, UIDS_PER_REQUEST)
        project = quote(project_id, safe="")
        self._url = f"{endpoint}/api/v1/projects/{project}/notifications"
        self._headers = {
            "authorization": f'Token token="{auth_token}"',
            "content-type": "application/json",
            "accept": "application/json",
        }
        self._http = Http1Client(
            section=SECTION,
            ca_file=ca_file,
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._shape = Shape(self._http, self.batch_size, TARGET_KEYS)

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        await send_batch(batch, report, pace, self._shape, self._exchange)

    async def close(self) -> None:
        """As the port says."""
        await self._http.close()

    async def _exchange(
        self, template: JsonTemplate, targets: Sequence[str]
    ) -> Outcome | list[Outcome]:
        body = template.with_fields(b'"uids":' + orjson.dumps(targets))
        return read_answer(
            await self._http.post(self._url, body, self._headers), targets
        )


def read_answer(answer: Answer, targets: Sequence[str]) -> Outcome | list[Outcome]:
    """Outcomes of an answer: users missing in its `uids` have no subscription."""
    fields = parse_object(answer.body)
    if not is_success(answer.status):
        found = class_of_status(answer.status, BY_STATUS)
        return outcome_of(found, answer, answer.body.decode(errors="replace"), targets)
    id = read_id(fields.get("id"))
    sent = Outcome(Verdict.DELIVERED, message_id=id) if id else ACCEPTED
    reached = fields.get("uids")
    if not isinstance(reached, list):
        return sent
    known = {str(uid) for uid in reached}
    return [sent if one in known else NOT_SUBSCRIBED for one in targets]


def build_pushpad(settings: PushpadSection, integration: str) -> PushpadProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return PushpadProvider(
        auth_token=read_text(settings.auth_token.get_secret_value()),
        project_id=read_text(settings.project_id),
        endpoint=settings.endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
