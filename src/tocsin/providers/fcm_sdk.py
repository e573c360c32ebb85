"""Firebase Cloud Messaging through firebase-admin, for `transport: sdk`.

The SDK refreshes credentials inside its event loop, where they block, so it gets a
thread and a loop of its own. Its outcomes must be those of the native provider; it
may only be slower.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.push import Body
from tocsin.providers.fcm_message import TARGET_KEYS, InvalidMessage, parse_message
from tocsin.providers.fcm_setup import CREDENTIALS_KEY, SECTION, check_endpoint
from tocsin.providers.files import load_trust
from tocsin.providers.google_token import (
    TokenFailure,
    load_service_account,
    share_access_tokens,
)
from tocsin.providers.outcomes import report_all
from tocsin.providers.slots import Slots

_STREAMS_PER_CONNECTION = 100


class FcmSdkProvider:
    """The same account, the same port, firebase-admin's client.

    `max_connections` bounds requests in flight at 100 each; how many connections
    there are is the SDK's choice.
    """

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
        # Late, for it loads firebase-admin with httpx and all that.
        from tocsin.providers.fcm_sdk_client import FirebaseClient

        self.integration = integration
        self.batch_size = batch_size
        account = load_service_account(credentials_file, CREDENTIALS_KEY)
        self._tokens = share_access_tokens(account, ca_file)
        self._client = FirebaseClient(
            account,
            self._tokens,
            endpoint=check_endpoint(endpoint),
            trust=load_trust(SECTION, ca_file),
            timeout_s=request_timeout_s,
        )
        self._slots = Slots(max_connections * _STREAMS_PER_CONNECTION)

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        bodies = batch.bodies
        try:
            shared = {} if bodies else _message_fields(batch.body)
        except InvalidMessage as wrong:
            report_all(batch.pending, _invalid(wrong), report)
            return
        try:
            # The SDK's thread reads the current token and must find one
            # there.
            await self._tokens.fetch()
        except TokenFailure as failure:
            report_all(batch.pending, failure.outcome, report)
            return
        async with asyncio.TaskGroup() as group:
            for index in batch.pending:
                # The slot first: once the pace has let a request
                # through, it starts at once.
                await self._slots.acquire(batch.priority)
                if not pace.ready() and not await pace.wait():
                    self._slots.release()
                    break
                target = batch.targets[index]
                try:
                    fields = _message_fields(bodies[index]) if bodies else shared
                except InvalidMessage as wrong:
                    self._slots.release()
                    report(index, _invalid(wrong))
                    continue
                message = {**fields, batch.kind.value: target}
                sending = self._client.start(message, target, batch.validate_only)
                group.create_task(self._settle(sending, index, report))

    async def close(self) -> None:
        """As the port says."""
        # It joins a thread, which would block this loop.
        await asyncio.get_running_loop().run_in_executor(None, self._client.close)

    async def _settle(
        self, sending: Future[Outcome], index: int, report: Report
    ) -> None:
        try:
            outcome = await asyncio.wrap_future(sending)
        finally:
            self._slots.release()
        report(index, outcome)


def _message_fields(body: Body) -> dict[str, Any]:
    """The message without a target of its own; raises `InvalidMessage`."""
    fields = parse_message(body.message)
    for key in TARGET_KEYS:
        fields.pop(key, None)
    return fields


def _invalid(wrong: InvalidMessage) -> Outcome:
    return Outcome(Verdict.REJECTED, "invalid_message", str(wrong), of_body=True)
