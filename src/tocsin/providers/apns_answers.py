"""What an answer of APNs means, by its reason and only then by its status.

Pure: bytes in, `Outcome` out. It must not decide what follows from a verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.http2 import Failure
from tocsin.providers.answer_class import AnswerClass, class_of_status
from tocsin.providers.pump import failure_outcome
from tocsin.providers.retry_after import QUOTA_WAIT_S, parse_retry_after

_BY_REASON: Mapping[str, AnswerClass] = {
    # About the token. A token of the other environment is a "bad" one too.
    "BadDeviceToken": AnswerClass(Verdict.SUSPECT, "bad_device_token"),
    "DeviceTokenNotForTopic": AnswerClass(
        Verdict.SUSPECT, "device_token_not_for_topic"
    ),
    "Unregistered": AnswerClass(Verdict.UNREGISTERED, "unregistered"),
    "ExpiredToken": AnswerClass(Verdict.UNREGISTERED, "expired_token"),
    # About the message.
    "BadCollapseId": AnswerClass(Verdict.REJECTED, "bad_collapse_id", of_body=True),
    "BadExpirationDate": AnswerClass(
        Verdict.REJECTED, "bad_expiration_date", of_body=True
    ),
    "BadMessageId": AnswerClass(Verdict.REJECTED, "bad_message_id"),
    "BadPriority": AnswerClass(Verdict.REJECTED, "bad_priority", of_body=True),
    "DuplicateHeaders": AnswerClass(
        Verdict.REJECTED, "duplicate_headers", of_body=True
    ),
    "InvalidPushType": AnswerClass(Verdict.REJECTED, "invalid_push_type", of_body=True),
    "MissingDeviceToken": AnswerClass(Verdict.REJECTED, "missing_device_token"),
    "PayloadEmpty": AnswerClass(Verdict.REJECTED, "payload_empty", of_body=True),
    "PayloadTooLarge": AnswerClass(Verdict.REJECTED, "payload_too_large", of_body=True),
    "BadPath": AnswerClass(Verdict.REJECTED, "bad_path"),
    # About the topic: everybody's, unless the message names one of its own.
    "BadTopic": AnswerClass(Verdict.MISCONFIGURED, "bad_topic", slow_down=True),
    "MissingTopic": AnswerClass(Verdict.MISCONFIGURED, "missing_topic", slow_down=True),
    "TopicDisallowed": AnswerClass(
        Verdict.MISCONFIGURED, "topic_disallowed", slow_down=True
    ),
    # About the credential.
    "ExpiredProviderToken": AnswerClass(
        Verdict.MISCONFIGURED, "expired_provider_token", slow_down=True
    ),
    "InvalidProviderToken": AnswerClass(
        Verdict.MISCONFIGURED, "invalid_provider_token", slow_down=True
    ),
    "MissingProviderToken": AnswerClass(
        Verdict.MISCONFIGURED, "missing_provider_token", slow_down=True
    ),
    "BadCertificate": AnswerClass(
        Verdict.MISCONFIGURED, "bad_certificate", slow_down=True
    ),
    "BadCertificateEnvironment": AnswerClass(
        Verdict.MISCONFIGURED, "bad_certificate_environment", slow_down=True
    ),
    "BadEnvironmentKeyIdInToken": AnswerClass(
        Verdict.MISCONFIGURED, "bad_environment_key_id", slow_down=True
    ),
    "Forbidden": AnswerClass(Verdict.MISCONFIGURED, "forbidden", slow_down=True),
    "MethodNotAllowed": AnswerClass(
        Verdict.MISCONFIGURED, "method_not_allowed", slow_down=True
    ),
    # Apple wants at least 20 minutes between two tokens of a key. The retry goes
    # out with the old token (`ApnsTokens.keep_old`).
    "TooManyProviderTokenUpdates": AnswerClass(
        Verdict.RETRY, "too_many_provider_token_updates", slow_down=True
    ),
    # Passing. A device has a limit of its own, so a 429 of one stops nobody else.
    "TooManyRequests": AnswerClass(Verdict.RETRY, "too_many_requests"),
    "IdleTimeout": AnswerClass(Verdict.RETRY, "idle_timeout"),
    # The first push binds a connection to one team and its topics; another key
    # needs another connection.
    "UnrelatedKeyIdInToken": AnswerClass(Verdict.RETRY, "unrelated_key_id"),
    "InternalServerError": AnswerClass(Verdict.RETRY, "internal"),
    "ServiceUnavailable": AnswerClass(Verdict.RETRY, "unavailable"),
    "Shutdown": AnswerClass(Verdict.RETRY, "shutdown"),
}

_BY_STATUS: Mapping[int, AnswerClass] = {
    400: AnswerClass(Verdict.REJECTED, "bad_request", of_body=True),
    403: AnswerClass(Verdict.MISCONFIGURED, "forbidden", slow_down=True),
    404: AnswerClass(Verdict.MISCONFIGURED, "not_found", slow_down=True),
    405: AnswerClass(Verdict.MISCONFIGURED, "method_not_allowed", slow_down=True),
    408: AnswerClass(Verdict.RETRY, "timeout"),
    410: AnswerClass(Verdict.UNREGISTERED, "unregistered"),
    413: AnswerClass(Verdict.REJECTED, "payload_too_large", of_body=True),
    # Without Apple's word for it nobody can say that one device alone is meant.
    429: AnswerClass(Verdict.RETRY, "too_many_requests", slow_down=True),
    500: AnswerClass(Verdict.RETRY, "internal"),
    502: AnswerClass(Verdict.RETRY, "bad_gateway"),
    503: AnswerClass(Verdict.RETRY, "unavailable"),
    504: AnswerClass(Verdict.RETRY, "gateway_timeout"),
}
"""For a reason that is not known, and for answers that are not Apple's own."""

EXPIRED_TOKEN = "ExpiredProviderToken"
TOO_MANY_TOKENS = "TooManyProviderTokenUpdates"
SPENT_CONNECTION = frozenset({"IdleTimeout", "Shutdown", "UnrelatedKeyIdInToken"})
"""Reasons that lie in the connection: on it, every retry would be answered so too."""
_TOPIC_REASONS = frozenset(
    {"BadTopic", "DeviceTokenNotForTopic", "MissingTopic", "TopicDisallowed"}
)
# All of Apple's reasons are one word. Anything else, which could repeat a token, is
# not written down.
_REASON = re.compile(r"[A-Za-z0-9]{1,48}")
_UNIQUE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_LATEST_MS = 1 << 53
_DETAIL_LIMIT = 300
_DELIVERED = Verdict.DELIVERED


@dataclass(frozen=True, slots=True)
class ApnsAnswer:
    """What came back through an SDK. `died_ms`: Unix milliseconds, with a 410 only."""

    status: int
    reason: str
    died_ms: int | None
    message_id: str


def read_success(message_id: str | None, unique_id: str | None = None) -> Outcome:
    """The outcome of any 2xx, by its headers `apns-id` and `apns-unique-id`.

    Only the sandbox sends the second one.
    """
    if unique_id is None or not _UNIQUE_ID.fullmatch(unique_id):
        return Outcome(_DELIVERED, message_id=message_id or "")
    return Outcome(_DELIVERED, message_id=message_id or "", unique_id=unique_id)


def parse_reason(body: bytes) -> tuple[str, int | None]:
    """Apple's word for a refusal, and the time of death in Unix milliseconds."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):  # HTML of a gateway, or nothing
        return "", None
    if not isinstance(answer, dict):
        return "", None
    reason, died_ms = answer.get("reason"), answer.get("timestamp")
    if type(died_ms) is not int or not 0 < died_ms <= _LATEST_MS:
        died_ms = None
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        reason = ""
    return reason, died_ms


def classify(
    status: int,
    reason: str,
    died_ms: int | None = None,
    retry_after: str | None = None,
    *,
    own_topic: bool = False,
) -> Outcome:
    """The outcome of any refusal; `own_topic` says that the message named its topic."""
    found = _BY_REASON.get(reason) or class_of_status(status, _BY_STATUS)
    if own_topic and reason in _TOPIC_REASONS:
        # The message asks for that topic, whatever the credential and the token are.
        found = AnswerClass(Verdict.REJECTED, found.code, of_body=True)
    wait_s = None
    if found.verdict is Verdict.RETRY:
        wait_s = parse_retry_after(retry_after)
        # That reason is no quota: the old token works at once, so a minute is
        # not due.
        if wait_s is None and status == 429 and reason != TOO_MANY_TOKENS:
            wait_s = QUOTA_WAIT_S
    return Outcome(
        found.verdict,
        found.code,
        f"{status} {reason}".strip()[:_DETAIL_LIMIT],
        retry_after_s=wait_s,
        slow_down=found.slow_down,
        of_body=found.of_body,
        # Since when the token is dead: a device that registered later is alive.
        gone_at_ms=died_ms if found.verdict is Verdict.UNREGISTERED else None,
        provider_code=reason or str(status),
    )


_UNREACHED = frozenset({"connect_failed", "connection_closed", "protocol_error"})


def blame_certificate(outcome: Outcome) -> Outcome:
    """What a fault means once our certificate has ended: Apple hangs up then.

    Any other answer shows that it is good for something, and stays.
    """
    if outcome.verdict is not Verdict.RETRY or outcome.code not in _UNREACHED:
        return outcome
    return Outcome(
        Verdict.MISCONFIGURED,
        "expired_certificate",
        f"the APNs certificate has expired: {outcome.detail}"[:_DETAIL_LIMIT],
        slow_down=True,
        maybe_sent=outcome.maybe_sent,
    )


def read_failure(failure: Failure) -> Outcome:
    """The outcome of a request without an answer.

    A GOAWAY may carry a reason; one that blames the credential needs a person, and
    trying again and again would not help.
    """
    reason, _ = parse_reason(failure.goaway_debug)
    found = _BY_REASON.get(reason)
    if found is None or found.verdict is not Verdict.MISCONFIGURED:
        return failure_outcome(failure)
    return Outcome(
        found.verdict,
        found.code,
        f"GOAWAY {reason}",
        slow_down=found.slow_down,
        maybe_sent=failure.maybe_sent,
    )
