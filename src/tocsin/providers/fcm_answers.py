"""What an answer of FCM means, by its error detail and only then by its status.

Pure: bytes in, `Outcome` out. It must not decide what follows from a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.answer_class import hide_targets
from tocsin.providers.outcomes import ACCEPTED, is_success
from tocsin.providers.retry_after import QUOTA_WAIT_S, parse_retry_after


@dataclass(frozen=True, slots=True)
class _Class:
    """The verdict on one kind of error, and its word in metrics."""

    verdict: Verdict
    code: str
    of_body: bool = False


_BY_ERROR_CODE: Mapping[str, _Class] = {
    "UNREGISTERED": _Class(Verdict.UNREGISTERED, "unregistered"),
    # The token is another project's; or all are, where the account is the wrong
    # one.
    "SENDER_ID_MISMATCH": _Class(Verdict.SUSPECT, "sender_id_mismatch"),
    "QUOTA_EXCEEDED": _Class(Verdict.RETRY, "quota_exceeded"),
    "UNAVAILABLE": _Class(Verdict.RETRY, "unavailable"),
    "INTERNAL": _Class(Verdict.RETRY, "internal"),
    "THIRD_PARTY_AUTH_ERROR": _Class(Verdict.MISCONFIGURED, "third_party_auth_error"),
    # The old name of the one above.
    "APNS_AUTH_ERROR": _Class(Verdict.MISCONFIGURED, "third_party_auth_error"),
    "INVALID_ARGUMENT": _Class(Verdict.REJECTED, "invalid_argument", of_body=True),
}
"""FcmError.errorCode. UNSPECIFIED_ERROR and unknown ones fall back to the status."""

_BY_STATUS: Mapping[int, _Class] = {
    400: _Class(Verdict.REJECTED, "invalid_argument", of_body=True),
    401: _Class(Verdict.MISCONFIGURED, "unauthenticated"),
    403: _Class(Verdict.MISCONFIGURED, "permission_denied"),
    # A wrong project or address says 404 too: without the detail it is never a token.
    404: _Class(Verdict.MISCONFIGURED, "not_found"),
    408: _Class(Verdict.RETRY, "timeout"),
    413: _Class(Verdict.REJECTED, "payload_too_large", of_body=True),
    429: _Class(Verdict.RETRY, "quota_exceeded"),
    500: _Class(Verdict.RETRY, "internal"),
    502: _Class(Verdict.RETRY, "bad_gateway"),
    503: _Class(Verdict.RETRY, "unavailable"),
    504: _Class(Verdict.RETRY, "gateway_timeout"),
}
_OTHER_SERVER_ERROR = _Class(Verdict.RETRY, "server_error")
_OTHER_ANSWER = _Class(Verdict.MISCONFIGURED, "unexpected_status")

_BAD_TOKEN = _Class(Verdict.UNREGISTERED, "invalid_token")
_BAD_TOKEN_TEXT = "registration token is not a valid fcm registration token"
_BAD_TOKEN_FIELD = "message.token"

_TYPES = "type.googleapis.com/"
_FCM_ERROR = _TYPES + "google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = _TYPES + "google.rpc.BadRequest"
_QUOTA_FAILURE = _TYPES + "google.rpc.QuotaFailure"
_TARGET_QUOTAS = ("device", "topic", "message target")
_DETAIL_LIMIT = 300
_MESSAGES = b"/messages/"

_DELIVERED = Verdict.DELIVERED


def read_success(body: bytes) -> Outcome:
    """The outcome of any 2xx; the message id is the last segment of its name.

    Runs once per push, so it looks for the segment instead of parsing JSON.
    """
    start = body.rfind(_MESSAGES)
    end = body.find(b'"', start)
    if start < 0 or end < 0:
        return ACCEPTED
    return Outcome(_DELIVERED, message_id=body[start + 10 : end].decode("latin-1"))


def classify(
    status: int,
    body: bytes,
    retry_after: str | None,
    target: str = "",
    *,
    now_s: float | None = None,
) -> Outcome:
    """The outcome of any answer. `target` is kept out of the outcome's detail."""
    if is_success(status):
        return read_success(body)
    error = _parse_error(body)
    details = _dicts(error.get("details"))
    code = _find_code(details)
    found = _BY_ERROR_CODE.get(code) or _class_of_status(status)
    # FCM answers a malformed token with the 400 of a malformed message: only the
    # text or the named field tells them apart.
    if found.code == "invalid_argument" and _blames_token(error, details):
        found = _BAD_TOKEN
    wait_s = None
    if found.verdict is Verdict.RETRY:
        wait_s = parse_retry_after(retry_after, now_s)
        if wait_s is None and status == 429:
            wait_s = QUOTA_WAIT_S
    return Outcome(
        found.verdict,
        found.code,
        _describe(status, error, target),
        retry_after_s=wait_s,
        slow_down=_concerns_credential(found, status, code, details),
        of_body=found.of_body,
        provider_code=code if code in _BY_ERROR_CODE else str(status),
    )


def _concerns_credential(
    found: _Class, status: int, code: str, details: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether every other recipient would get the same answer now."""
    if found.verdict is Verdict.MISCONFIGURED:
        # An APNs or Web Push key missing in Firebase leaves Android untouched.
        return found.code != "third_party_auth_error"
    return status == 429 and _is_project_quota(code, details)


def is_stale_access_token(status: int, body: bytes) -> bool:
    """Whether an answer says that the access token, and nothing else, is refused."""
    return status == 401 and not _find_code(_dicts(_parse_error(body).get("details")))


def _class_of_status(status: int) -> _Class:
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return _OTHER_SERVER_ERROR if status >= 500 else _OTHER_ANSWER


def _parse_error(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):  # HTML of a gateway, or nothing
        return {}
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else {}


def _find_code(details: Sequence[Mapping[str, Any]]) -> str:
    for detail in details:
        # The top-level `status` is only gRPC's word; FCM's own code is in this
        # detail.
        if detail.get("@type") == _FCM_ERROR:
            return str(detail.get("errorCode", ""))
    return ""


def _blames_token(
    error: Mapping[str, Any], details: Sequence[Mapping[str, Any]]
) -> bool:
    if _BAD_TOKEN_TEXT in str(error.get("message")).lower():
        return True
    return any(
        violation.get("field") == _BAD_TOKEN_FIELD
        for detail in details
        if detail.get("@type") == _BAD_REQUEST
        for violation in _dicts(detail.get("fieldViolations"))
    )


def _is_project_quota(code: str, details: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a 429 concerns the whole project.

    The project's own limit is answered in front of FCM, without an FcmError. One
    from FCM itself is about the message's target unless its quota failure says
    that the overall rate is meant.
    """
    if not code:
        return True
    named = [
        f"{violation.get('subject')} {violation.get('description')}".lower()
        for detail in details
        if detail.get("@type") == _QUOTA_FAILURE
        for violation in _dicts(detail.get("violations"))
    ]
    return any("message rate" in text for text in named) and not any(
        word in text for text in named for word in _TARGET_QUOTAS
    )


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict)]


def _describe(status: int, error: Mapping[str, Any], target: str) -> str:
    text = hide_targets(str(error.get("message", "")), (target,))
    return f"{status} {text}".strip()[:_DETAIL_LIMIT]
