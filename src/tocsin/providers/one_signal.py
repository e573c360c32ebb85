"""OneSignal: one notification to many subscriptions, or to many external ids.

Everything of the message but its targeting goes out as it is. It must not decide
what follows from an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from tocsin.config.pasted import read_text
from tocsin.config.raw_push import OneSignalSection
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.providers.answer_class import (
    BY_STATUS,
    AnswerClass,
    class_of_status,
    outcome_of,
)
from tocsin.providers.chunks import Shape, send_batch
from tocsin.providers.errors import check_settings
from tocsin.providers.http1 import Answer, Http1Client
from tocsin.providers.json_message import JsonTemplate, parse_object
from tocsin.providers.outcomes import ACCEPTED, is_success, read_id

BY_TEXT: Mapping[str, AnswerClass] = {
    # OneSignal answers 400 where others say 401 or 404.
    "app_id": AnswerClass(Verdict.MISCONFIGURED, "unknown_app", slow_down=True),
    "authorization": AnswerClass(
        Verdict.MISCONFIGURED, "unauthenticated", slow_down=True
    ),
    "not subscribed": AnswerClass(Verdict.REJECTED, "not_subscribed"),
}
"""Words of `errors`, in lower case, that say more than the status."""
NOT_SENT = AnswerClass(Verdict.REJECTED, "not_sent")
"""A 200 without a notification's id: it was sent to nobody."""
INVALID_ID = Outcome(Verdict.SUSPECT, "invalid_player_id", "unknown to this app")
"""A wrong app id makes every subscription unknown: guarded."""
MALFORMED_ID = Outcome(Verdict.SUSPECT, "malformed_id", "a subscription id is a UUID")
NOT_SUBSCRIBED = Outcome(Verdict.REJECTED, "not_subscribed", "no device subscribed")
"""Who opted out may opt in again: no reason to forget the device."""

TARGET_KEYS = frozenset(
    {
        "app_id",
        "include_player_ids",
        "include_subscription_ids",
        "include_aliases",
        "include_external_user_ids",
        "channel_for_external_user_ids",
        "target_channel",
        "include_email_tokens",
        "include_phone_numbers",
        "include_ios_tokens",
        "include_wp_wns_uris",
        "include_amazon_reg_ids",
        "include_chrome_reg_ids",
        "include_chrome_web_reg_ids",
        "include_android_reg_ids",
        "included_segments",
        "excluded_segments",
        "filters",
        "tags",
    }
)
"""Every way to aim a notification: one that is left in would add recipients."""

SECTION = "push_notifications.one_signal"
IDS_PER_REQUEST = 2000
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

ApiVersion = Literal["playerModel", "externalId"]


class OneSignalProvider:
    """One OneSignal application."""

    name = "one-signal"

    def __init__(
        self,
        *,
        app_id: str,
        api_key: str,
        api_version: ApiVersion = "playerModel",
        endpoint: str = "",
        ca_file: str = "",
        batch_size: int = 1000,
        max_connections: int = 4,
        integration: str = "one-signal",
        request_timeout_s: float = 15,
    ) -> None:
        """Raises `ProviderSetupError`. Connects on demand."""
        check_settings(SECTION, app_id=app_id, api_key=api_key)
        self.integration = integration
        self.batch_size = min(batch_size, IDS_PER_REQUEST)
        self._by_player = api_version == "playerModel"
        if self._by_player:
            origin, path = "https://onesignal.com", "/api/v1/notifications"
        else:
            origin, path = "https://api.onesignal.com", "/notifications"
        self._url = (endpoint or origin) + path
        # Keys of the newer kind have a scheme of their own.
        scheme = "Key" if api_key.startswith("os_v2_") else "Basic"
        self._headers = {
            "authorization": f"{scheme} {api_key}",
            "content-type": "application/json; charset=utf-8",
        }
        self._app = b'"app_id":' + orjson.dumps(app_id)
        self._http = Http1Client(
            section=SECTION,
            ca_file=ca_file,
            max_connections=max_connections,
            request_timeout_s=request_timeout_s,
        )
        self._shape = Shape(
            self._http,
            self.batch_size,
            TARGET_KEYS,
            refuse=_refuse_malformed if self._by_player else None,
        )

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        await send_batch(batch, report, pace, self._shape, self._exchange)

    async def close(self) -> None:
        """As the port says."""
        await self._http.close()

    async def _exchange(
        self, template: JsonTemplate, targets: Sequence[str]
    ) -> Outcome | list[Outcome]:
        ids = orjson.dumps(targets)
        if self._by_player:
            aim = b'"include_player_ids":' + ids
        else:
            aim = b'"include_aliases":{"external_id":' + ids
            aim += b'},"target_channel":"push"'
        body = template.with_fields(self._app + b"," + aim)
        answer = await self._http.post(self._url, body, self._headers)
        return read_answer(answer, targets)


def read_answer(answer: Answer, targets: Sequence[str]) -> Outcome | list[Outcome]:
    """A 200 may still mean failure, of some or of all."""
    fields = parse_object(answer.body)
    errors = fields.get("errors")
    taken = is_success(answer.status)
    if taken and "id" not in fields and not errors:
        return ACCEPTED
    if taken:
        id = read_id(fields.get("id"))
        if isinstance(errors, dict):
            return _read_partial(id, errors, targets)
        if id:
            return Outcome(Verdict.DELIVERED, message_id=id)
    text = _text(errors)
    found = next((one for word, one in BY_TEXT.items() if word in text.lower()), None)
    if found is None:
        found = NOT_SENT if taken else class_of_status(answer.status, BY_STATUS)
    # Only a 400 is ambiguous; any other status says more than these words.
    elif not taken and answer.status != 400:
        found = class_of_status(answer.status, BY_STATUS)
    return outcome_of(found, answer, text, targets)


def _read_partial(
    id: str, errors: Mapping[str, Any], targets: Sequence[str]
) -> list[Outcome]:
    aliases = errors.get("invalid_aliases")
    unknown = _texts(aliases.get("external_id")) if isinstance(aliases, dict) else set()
    unknown |= _texts(errors.get("invalid_external_user_ids"))
    invalid = _texts(errors.get("invalid_player_ids"))
    other = Outcome(Verdict.DELIVERED, message_id=id) if id else NOT_SUBSCRIBED
    return [
        INVALID_ID if one in invalid else NOT_SUBSCRIBED if one in unknown else other
        for one in targets
    ]


def _refuse_malformed(target: str) -> Outcome | None:
    # OneSignal refuses a whole request for one id that is no UUID.
    return None if _UUID.fullmatch(target) else MALFORMED_ID


def _texts(value: Any) -> set[str]:
    if not isinstance(value, list):
        return set()
    return {text for text in value if isinstance(text, str)}


def _text(errors: Any) -> str:
    if isinstance(errors, list):
        return "; ".join(str(error) for error in errors)
    return "" if errors is None else str(errors)


def build_one_signal(settings: OneSignalSection, integration: str) -> OneSignalProvider:
    """The adapter for one credential; raises `ProviderSetupError`."""
    return OneSignalProvider(
        app_id=read_text(settings.app_id),
        api_key=read_text(settings.api_key.get_secret_value()),
        api_version=settings.api_version,
        endpoint=settings.endpoint,
        ca_file=settings.ca_file,
        batch_size=settings.tokens_batch_size,
        max_connections=settings.max_connections,
        integration=integration,
    )
