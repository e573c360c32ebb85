"""Apple's push service through aioapns, for `transport: sdk`.

The library waits for ever for an answer that is lost, so every request has a deadline.
Its outcomes must be those of the native provider; it may only be slower.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report, TokenStore
from tocsin.core.push import Body
from tocsin.providers.apns import TOKEN_TOO_YOUNG
from tocsin.providers.apns_answers import (
    EXPIRED_TOKEN,
    TOO_MANY_TOKENS,
    ApnsAnswer,
    classify,
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
    find_origin,
    load_identity,
    tell_expiry,
)
from tocsin.providers.outcomes import is_success
from tocsin.providers.slots import Slots

_STREAMS_PER_CONNECTION = 100
_STOPPED = Outcome(Verdict.RETRY, "unauthenticated", "stopped before the token renewed")


class ApnsSdkProvider:
    """The same key or certificate, the same port, aioapns' connections.

    `max_connections` bounds requests in flight at 100 each.
    """

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
        # Late, for it loads aioapns with h2 and pyOpenSSL.
        from tocsin.providers.apns_sdk_client import AioapnsClient

        self.integration = integration
        self.batch_size = batch_size
        identity = load_identity(auth, bundle_id=bundle_id, ca_file=ca_file)
        tell_expiry(identity)
        self.topic = identity.topic
        self.credential_expires_at_s = identity.expires_at_s
        key = identity.key
        self.tokens = ApnsTokens(key, tokens, clock=clock) if key else None
        self._token = ""
        self._client = AioapnsClient(
            find_origin(endpoint),
            identity.tls,
            max_connections=max_connections,
            timeout_s=request_timeout_s,
            authorization=self._authorization if key else None,
        )
        self._slots = Slots(max_connections * _STREAMS_PER_CONNECTION)

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        if batch.validate_only:
            validate(batch, self.topic, report)
            return
        if self.tokens is not None:
            self._token = await self.tokens.fetch()
        async with asyncio.TaskGroup() as group:
            for index in batch.pending:
                # The slot first: once the pace has let a request
                # through, it starts at once.
                await self._slots.acquire(batch.priority)
                if not pace.ready() and not await pace.wait():
                    self._slots.release()
                    break
                group.create_task(self._send_one(batch, index, report, pace))

    async def close(self) -> None:
        """As the port says."""
        if self.tokens is not None:
            await self.tokens.close()
        await self._client.close()

    def _authorization(self) -> str:
        return f"bearer {self._token}"

    async def _send_one(
        self, batch: Batch, index: int, report: Report, pace: Pace
    ) -> None:
        try:
            outcome = await self._outcome(batch, index, pace)
        finally:
            self._slots.release()
        report(index, outcome)

    async def _outcome(self, batch: Batch, index: int, pace: Pace) -> Outcome:
        body = batch.body if batch.bodies is None else batch.bodies[index]
        headers = headers_for(body, topic=self.topic, deadline_ms=batch.deadline_ms)
        if isinstance(headers, Outcome):
            return headers
        payload = _payload_of(body)
        if payload is None:
            detail = "aioapns cannot send text that is no Unicode; transport native can"
            return Outcome(Verdict.REJECTED, "invalid_message", detail, of_body=True)
        # As it stands in the path: the library puts it there without quoting.
        token = find_path(batch.targets[index]).rpartition("/")[2]
        # Kept before the await: others may renew `self._token` meanwhile.
        used = self._token
        answer = await self._client.send(token, payload, headers)
        if _is_expired(answer) and self.tokens is not None:
            fresh = await self.tokens.renew(used)
            if fresh is None:
                return TOKEN_TOO_YOUNG
            self._token = used = fresh
            if not pace.ready() and not await pace.wait():
                return _STOPPED
            answer = await self._client.send(token, payload, headers)
        if isinstance(answer, Outcome):
            return answer
        if answer.reason == TOO_MANY_TOKENS and self.tokens is not None:
            self.tokens.keep_old(used)
        return _read(answer, own_topic=names_topic(body))


def _is_expired(answer: ApnsAnswer | Outcome) -> bool:
    return isinstance(answer, ApnsAnswer) and answer.reason == EXPIRED_TOKEN


def _read(answer: ApnsAnswer, *, own_topic: bool) -> Outcome:
    if is_success(answer.status):
        return read_success(answer.message_id)
    return classify(answer.status, answer.reason, answer.died_ms, own_topic=own_topic)


def _payload_of(body: Body) -> dict[str, Any] | None:
    """The payload as the library takes it, unless it would fail to write it."""
    # The library writes JSON anew, without ASCII escapes: a lone surrogate has no
    # UTF-8.
    payload: dict[str, Any] = json.loads(body.message)
    try:
        json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None
    return payload
