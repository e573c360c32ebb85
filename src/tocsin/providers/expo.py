"""Expo's push service: messages for tickets, and receipts for tickets later.

It must not decide what follows from an answer; `expo_answers.py` says what one means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from tocsin.config.pasted import read_text
from tocsin.config.raw_push import ExpoSection
from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.providers.chunks import Shape, Split, send_batch
from tocsin.providers.errors import check_settings
from tocsin.providers.expo_answers import read_receipts, read_tickets
from tocsin.providers.http1 import Http1Client, RequestFailed
from tocsin.providers.json_message import JsonTemplate

SECTION = "push_notifications.expo"
MESSAGES_PER_REQUEST = 100
RECEIPTS_PER_REQUEST = 1000
"""Expo's limits."""


class ExpoProvider:
    """One Expo account, or none: an access token is needed only where Expo asks it."""

    name = "expo"
    receipt_batch_size = RECEIPTS_PER_REQUEST

    def __init__(
        self,
        *,
        access_token: str = "",
        endpoint: str = "https://exp.host",
        ca_file: str = "",
        batch_size: int = MESSAGES_PER_REQUEST,
        max_connections: int = 6,
        receipt_delay_s: float = 900,
        integration: str = "expo",
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError`. Connects on demand."""
        self.integration = integration
        self.batch_size = min(batch_size, MESSAGES_PER_REQUEST)
        self.receipt_delay_s = receipt_delay_s
        self._send_url = f"{endpoint}/--/api/v2/push/send"
        self._receipts_url = f"{endpoint}/--/api/v2/push/getReceipts"
        self._headers = {
            "accept": "application/json",
            "content-type": "application/json",
        }
        if access_token:
            check_settings(SECTION, access_token=access_token)
            self._headers["authorization"] = f"Bearer {access_token}"
        self._http = Http1Client(
            section=SECTION,
            ca_file=ca_file,
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._shape = Shape(self._http, self.batch_size, frozenset({"to"}))

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says; the message id is the ticket's."""
        await send_batch(batch, report, pace, self._shape, self._exchange)

    async def fetch_receipts(
        self, ids: Sequence[str]
    ) -> Mapping[str, Outcome] | Outcome:
        """As `ReceiptSource` says."""
        body = orjson.dumps({"ids": list(ids)})
        async with self._http.slots.held(Priority.BULK):
            try:
                answer = await self._http.post(self._receipts_url, body, self._headers)
            except RequestFailed as failure:
                return failure.outcome
        return read_receipts(answer)

    async def close(self) -> None:
        """As the port says."""
        await self._http.close()

    async def _exchange(
        self, template: JsonTemplate, targets: Sequence[str]
    ) -> Outcome | list[Outcome] | Split:
        # One message with many recipients: their tickets come in this order.
        message = template.with_fields(b'"to":' + orjson.dumps(targets))
        answer = await self._http.post(
            self._send_url, b"[" + message + b"]", self._headers
        )
        return read_tickets(answer, targets)


def build_expo(settings: ExpoSection, integration: str) -> ExpoProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return ExpoProvider(
        access_token=read_text(settings.access_token.get_secret_value()),
        endpoint=settings.endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        receipt_delay_s=settings.receipt_delay,
        integration=integration,
    )
