"""Web Push: messages encrypted for each browser, sent to the service it named.

Services are spoken to in HTTP/2 by the own engine only: RFC 8030 asks it of them, and
all browsers' services do. It must not follow redirects, connect to what the rules
refuse, or decide what follows from an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import structlog

from tocsin.config.webpush import WebPushSection
from tocsin.core.endpoints import Endpoint, EndpointRules
from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.push import Body, TargetKind
from tocsin.core.push_services import InvalidHeader
from tocsin.core.webpush import (
    PushHeaders,
    WebPushTarget,
    parse_headers,
    parse_target,
)
from tocsin.http2 import Failure, RequestHead, Response, look_up
from tocsin.providers.files import load_trust
from tocsin.providers.outcomes import report_all
from tocsin.providers.pump import Pump, failure_outcome
from tocsin.providers.vapid import VapidHeaders, VapidKey
from tocsin.providers.webpush_answers import REFUSED, classify
from tocsin.providers.webpush_crypto import CHUNK, Encryptor, Unencryptable
from tocsin.providers.webpush_origins import BrowserService, BrowserServices, Lookup

_SECTION = "push_notifications.webpush"
_NOT_A_TOKEN = Outcome(
    Verdict.REJECTED, "unsupported_target", "Web Push has no topics or conditions"
)
_NOT_JSON = Outcome(
    Verdict.REJECTED, "invalid_message", "the payload is not JSON", of_body=True
)
_CHECKED = Outcome(Verdict.DELIVERED, message_id="dry_run")
"""Web Push cannot check without delivering: all but the request was done."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Letter:
    """One message before it is encrypted: its endpoint, keys, text and headers."""

    index: int
    endpoint: Endpoint
    target: WebPushTarget
    plaintext: bytes
    push: PushHeaders


class WebPushProvider:
    """One VAPID key's way to all push services."""

    name = "webpush"

    def __init__(
        self,
        *,
        vapid_public_key: str,
        vapid_private_key: str,
        subject: str,
        rules: EndpointRules | None = None,
        ca_file: str = "",
        batch_size: int = 100,
        max_connections: int = 2,
        integration: str = "webpush",
        request_timeout_s: float = 15,
        lookup: Lookup = look_up,
    ) -> None:
        """Checks the keys; raises `ProviderSetupError`. Connects on demand.

        `max_connections` are those to one origin.
        """
        self.integration = integration
        self.batch_size = batch_size
        self._rules = rules or EndpointRules.of()
        key = VapidKey.load(vapid_public_key, vapid_private_key, subject)
        self._vapid = VapidHeaders(key)
        self._services = BrowserServices(
            self._rules,
            ssl_context=load_trust(_SECTION, ca_file),
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
            lookup=lookup,
        )
        self._encryptor = Encryptor()
        if self._rules.allow_private:
            _log.warning(
                "Web Push may connect to private addresses: anybody who registers a"
                " subscription can make this process do so. Unset"
                " push_notifications.webpush.allow_private_addresses outside of tests",
                integration=integration,
            )

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        if batch.kind is not TargetKind.TOKEN:
            report_all(batch.pending, _NOT_A_TOKEN, report)
            return
        groups: dict[str, list[_Letter]] = {}
        for letter in _Reader(batch, self._rules).read(report):
            groups.setdefault(letter.endpoint.origin, []).append(letter)
        # One origin that is slow, or away, holds up nobody else's messages.
        pieces = [
            letters[start : start + CHUNK]
            for letters in groups.values()
            for start in range(0, len(letters), CHUNK)
        ]
        if len(pieces) == 1:
            await self._send_piece(batch, pieces[0], report, pace)
            return
        async with asyncio.TaskGroup() as group:
            for piece in pieces:
                group.create_task(self._send_piece(batch, piece, report, pace))

    async def close(self) -> None:
        """As the port says."""
        await self._services.aclose()
        self._encryptor.close()

    async def _send_piece(
        self, batch: Batch, letters: Sequence[_Letter], report: Report, pace: Pace
    ) -> None:
        """A chunk of messages to one origin."""
        indexes = [letter.index for letter in letters]
        priority = batch.priority
        if batch.validate_only:
            bodies = await self._seal(letters, priority)
            for letter, body in zip(letters, bodies, strict=True):
                report(letter.index, body if isinstance(body, Outcome) else _CHECKED)
            return
        async with self._services.use(letters[0].endpoint.origin) as service:
            # Before encryption, which costs most: nothing is encrypted for an origin
            # that cannot be reached.
            outcome = service.rest() or await service.connect(priority)
            if outcome is not None:
                report_all(indexes, outcome, report)
                return
            bodies = await self._seal(letters, priority)
            exchange = _Conversation(service, self._vapid, letters, bodies)
            pump = Pump(service.pool, exchange, indexes, report, pace, priority)
            await pump.finish()

    async def _seal(
        self, letters: Sequence[_Letter], priority: Priority
    ) -> list[bytes | Outcome]:
        """The encrypted bodies, or why there is none."""
        sealed = await self._encryptor.encrypt(
            [(letter.plaintext, letter.target) for letter in letters], priority
        )
        return [
            Outcome(Verdict.REJECTED, "unencryptable", str(body))
            if isinstance(body, Unencryptable)
            else body
            for body in sealed
        ]


class _Reader:
    """Turns a batch into letters; what cannot become one is reported."""

    def __init__(self, batch: Batch, rules: EndpointRules) -> None:
        self._batch = batch
        self._rules = rules
        self._push: dict[int, PushHeaders] = {}
        self._json: dict[int, bool] = {}

    def read(self, report: Report) -> list[_Letter]:
        """Letters in the order of `pending`."""
        batch, letters = self._batch, []
        for index in batch.pending:
            body = batch.body if batch.bodies is None else batch.bodies[index]
            letter = self._read_one(index, body)
            if isinstance(letter, Outcome):
                report(index, letter)
            else:
                letters.append(letter)
        return letters

    def _read_one(self, index: int, body: Body) -> _Letter | Outcome:
        if not self._is_json(body.message):
            return _NOT_JSON
        try:
            push = self._parse_headers(body.headers)
        except InvalidHeader as error:
            return Outcome(
                Verdict.REJECTED, "invalid_headers", str(error), of_body=True
            )
        try:
            target = parse_target(self._batch.targets[index])
        except ValueError as error:
            return Outcome(Verdict.REJECTED, "invalid_subscription", str(error))
        try:
            endpoint = self._rules.check(target.endpoint)
        except ValueError as error:
            return Outcome(Verdict.REJECTED, "endpoint_refused", f"endpoint {error}")
        return _Letter(index, endpoint, target, body.message, push)

    # Both remember results by `id()`: most messages of a batch share the body object or
    # its headers. The batch keeps these objects alive, so no id is given out twice.

    def _is_json(self, message: bytes) -> bool:
        known = self._json.get(id(message))
        if known is None:
            try:
                orjson.loads(message)
                known = True
            except ValueError:
                known = False
            self._json[id(message)] = known
        return known

    def _parse_headers(self, headers: Mapping[str, str]) -> PushHeaders:
        push = self._push.get(id(headers))
        if push is None:
            push = self._push[id(headers)] = parse_headers(headers)
        return push


class _Conversation:
    """A chunk for one origin in the pump's words."""

    def __init__(
        self,
        service: BrowserService,
        vapid: VapidHeaders,
        letters: Sequence[_Letter],
        bodies: Sequence[bytes | Outcome],
    ) -> None:
        self._service = service
        self._vapid = vapid
        self._authorization = vapid.fetch(service.origin)
        self._by_index = {
            letter.index: (letter, body)
            for letter, body in zip(letters, bodies, strict=True)
        }

    def build(self, index: int) -> tuple[RequestHead, bytes] | Outcome:
        """The encrypted message to one endpoint."""
        letter, body = self._by_index[index]
        if isinstance(body, Outcome):
            return body
        # Asked again for each message: an answer in between may have asked for
        # a rest.
        resting = self._service.rest()
        if resting is not None:
            return resting
        head = self._service.head(self._authorization, letter.push)
        return head.with_path(letter.endpoint.path), body

    def read(self, index: int, answer: Response, *, renewed: bool) -> Outcome | None:
        """What an answer means; `None` where a new VAPID token may help."""
        if answer.status in REFUSED and not renewed:
            origin, header = self._service.origin, self._authorization
            # Where a token was just renewed, the refusal is about the
            # subscription's own key.
            if self._vapid.may_renew(origin, header):
                return None
        outcome = classify(answer, self._by_index[index][0].endpoint.path)
        self._service.heard(answer.status, outcome.retry_after_s)
        return outcome

    def read_failure(self, failure: Failure) -> Outcome:
        """A request without an answer."""
        return failure_outcome(failure)

    async def renew(self) -> Outcome | None:
        """Sign a new token; that cannot fail."""
        origin = self._service.origin
        self._authorization = self._vapid.renew(origin, self._authorization)
        return None


def build_webpush(settings: WebPushSection, integration: str) -> WebPushProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return WebPushProvider(
        vapid_public_key=settings.vapid_public_key,
        vapid_private_key=settings.vapid_private_key.get_secret_value(),
        subject=settings.subject,
        rules=settings.endpoint_rules(),
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        integration=integration,
    )
