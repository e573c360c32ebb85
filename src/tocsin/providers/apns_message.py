"""One APNs notification: its payload, the headers it needs, and its path.

Pure; a payload is sent byte for byte as it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from tocsin.core.apns import (
    PUSH_TYPES,
    parse_headers,
    payload_limit,
)
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Report
from tocsin.core.push import Body
from tocsin.core.push_services import InvalidHeader
from tocsin.providers.answer_class import DRY_RUN
from tocsin.providers.json_message import InvalidMessage, parse_message

_ALERTING = ("alert", "sound", "badge")
_PATH = "/3/device/"


def find_path(token: str) -> str:
    """The path of a device's notifications; any other characters are quoted.

    So a token with a slash in it cannot change the path.
    """
    if token.isascii() and token.isalnum():
        return _PATH + token
    return _PATH + quote(token, safe="")


def find_push_type(message: bytes) -> str:
    """`background` for a payload that only wakes the app, else `alert`.

    Raises `InvalidMessage` for what is no JSON object.
    """
    aps = parse_message(message).get("aps")
    if not (isinstance(aps, dict) and aps.get("content-available") == 1):
        return "alert"
    # `content-available` may stand beside an alert: only without one is it
    # background.
    return "alert" if any(name in aps for name in _ALERTING) else "background"


def complete_headers(
    headers: Mapping[str, str], push_type: str, *, topic: str, deadline_ms: int = 0
) -> dict[str, str]:
    """The headers as given, with those that were left out; raises `InvalidHeader`.

    `push_type` is what the payload looks like, `topic` the app's bundle id,
    `deadline_ms` (Unix milliseconds, 0 for none) when the message becomes useless.
    """
    given = parse_headers(headers)
    push_type = given.get("apns-push-type", push_type)
    complete = {
        "apns-topic": topic + PUSH_TYPES[push_type],
        "apns-push-type": push_type,
    }
    if push_type == "background":
        complete["apns-priority"] = "5"  # Apple refuses 10, which is its default
    if deadline_ms:
        # Apple keeps it no longer than we would: 0 would mean "now or never".
        complete["apns-expiration"] = str(max(1, deadline_ms // 1000))
    # What the caller gave wins over what was worked out here.
    return complete | given


def headers_for(
    body: Body, *, topic: str, deadline_ms: int = 0
) -> dict[str, str] | Outcome:
    """The headers of a notification, or why nobody can be sent it."""
    try:
        return complete_headers(
            body.headers,
            find_push_type(body.message),
            topic=topic,
            deadline_ms=deadline_ms,
        )
    except InvalidMessage as wrong:
        return Outcome(Verdict.REJECTED, "invalid_message", str(wrong), of_body=True)
    except InvalidHeader as wrong:
        return Outcome(Verdict.REJECTED, "invalid_header", str(wrong), of_body=True)


def names_topic(body: Body) -> bool:
    """Whether the message says which app it is for, instead of the configuration."""
    return any(name.lower() == "apns-topic" for name in body.headers)


def validate(batch: Batch, topic: str, report: Report) -> None:
    """Report what can be known here: APNs cannot be asked without delivering."""
    for index in batch.pending:
        body = batch.body if batch.bodies is None else batch.bodies[index]
        report(index, _judge(body, topic))


def _judge(body: Body, topic: str) -> Outcome:
    headers = headers_for(body, topic=topic)
    if isinstance(headers, Outcome):
        return headers
    size, limit = len(body.message), payload_limit(headers)
    if size > limit:
        detail = f"{size} bytes, APNs takes {limit}"
        return Outcome(Verdict.REJECTED, "payload_too_large", detail, of_body=True)
    return DRY_RUN
