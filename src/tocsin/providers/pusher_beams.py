"""Pusher Beams: one publish to up to a thousand users.

Users that Beams does not know are not reported by it. It must not decide what
follows from an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import orjson

from tocsin.config.pasted import read_text
from tocsin.config.raw_push import PusherBeamsSection
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
from tocsin.providers.outcomes import ACCEPTED, is_success

SECTION = "push_notifications.pusher_beams"
USERS_PER_REQUEST = 1000
USER_LENGTH = 164
"""Characters of a user id that Beams takes; one longer would fail all others."""
TOO_LONG = Outcome(Verdict.REJECTED, "invalid_user", f"longer than {USER_LENGTH}")
TARGET_KEYS = frozenset({"users", "interests"})


class PusherBeamsProvider:
    """One Beams instance; its statuses mean what HTTP says (`BY_STATUS`)."""

    name = "pusher-beams"

    def __init__(
        self,
        *,
        instance_id: str,
        secret_key: str,
        endpoint: str = "",
        ca_file: str = "",
        batch_size: int = USERS_PER_REQUEST,
        max_connections: int = 4,
        integration: str = "pusher-beams",
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError`. Connects on demand."""
        check_settings(SECTION, instance_id=instance_id, secret_key=secret_key)
        self.integration = integration
        self.batch_size = min(batch_size, USERS_PER_REQUEST)
        instance = quote(instance_id, safe="")
        origin = endpoint or f"https://{instance}.pushnotifications.pusher.com"
        self._url = f"{origin}/publish_api/v1/instances/{instance}/publishes/users"
        self._headers = {
            "authorization": f"Bearer {secret_key}",
            "content-type": "application/json",
        }
        self._http = Http1Client(
            section=SECTION,
            ca_file=ca_file,
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._shape = Shape(
            self._http, self.batch_size, TARGET_KEYS, refuse=_refuse_long
        )

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        await send_batch(batch, report, pace, self._shape, self._exchange)

    async def close(self) -> None:
        """As the port says."""
        await self._http.close()

    async def _exchange(
        self, template: JsonTemplate, targets: Sequence[str]
    ) -> Outcome:
        body = template.with_fields(b'"users":' + orjson.dumps(targets))
        return read_answer(
            await self._http.post(self._url, body, self._headers), targets
        )


def read_answer(answer: Answer, targets: Sequence[str]) -> Outcome:
    """One outcome for all users of the request."""
    fields = parse_object(answer.body)
    if is_success(answer.status):
        id = fields.get("publishId")
        if not isinstance(id, str):
            return ACCEPTED
        return Outcome(Verdict.DELIVERED, message_id=id)
    found = class_of_status(answer.status, BY_STATUS)
    text = f"{fields.get('error', '')} {fields.get('description', '')}"
    return outcome_of(found, answer, text, targets)


def _refuse_long(target: str) -> Outcome | None:
    return TOO_LONG if len(target) > USER_LENGTH else None


def build_pusher_beams(
    settings: PusherBeamsSection, integration: str
) -> PusherBeamsProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return PusherBeamsProvider(
        instance_id=read_text(settings.instance_id),
        secret_key=read_text(settings.secret_key.get_secret_value()),
        endpoint=settings.endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
