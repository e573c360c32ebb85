"""Firebase Cloud Messaging as its documents and clients describe it.

It decides answers only; connections, delays and control belong to the server.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson

from tocsin.simulator.exchange import Ending, Reply, Request, json_reply
from tocsin.simulator.faults import SPOILT, Fault, FaultPlan
from tocsin.simulator.imitation import Imitation, Place
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.service_account import (
    AccountJudge,
    InvalidAssertion,
    prepare_service_account,
)
from tocsin.simulator.spoiling import spoil

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SEND_SUFFIX = "/messages:send"

TARGETS = ("token", "fid", "topic", "condition")
_MESSAGE_FIELDS = frozenset(
    {"name", "data", "notification", "android", "webpush", "apns", *TARGETS}
    | {"fcm_options", "fcmOptions"}
)
_FORBIDDEN_DATA = ("google", "gcm")
_PAYLOAD_LIMIT = {"topic": 2048}
_PAYLOAD_LIMIT_ELSE = 4096

FAST_REPLY = Reply(200, b'{"name":"projects/tocsin-simulated/messages/fast"}')
"""The one answer of the fast mode."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a fault reads in Google's words."""

    status: int
    canonical: str
    message: str
    code: str = ""
    details: tuple[Mapping[str, Any], ...] = ()
    retry_after: str = ""

    def reply(self) -> Reply:
        details = list(self.details)
        if self.code:
            details.insert(0, {"@type": _FCM_ERROR, "errorCode": self.code})
        error: dict[str, Any] = {
            "code": self.status,
            "message": self.message,
            "status": self.canonical,
        }
        if details:
            error["details"] = details
        headers = (("retry-after", self.retry_after),) if self.retry_after else ()
        return json_reply(self.status, {"error": error}, headers=headers)


def _violation(field: str, text: str) -> Mapping[str, Any]:
    found = {"field": field, "description": text}
    return {"@type": _BAD_REQUEST, "fieldViolations": [found]}


_TOKEN_TEXT = "The registration token is not a valid FCM registration token"
_TTL_TEXT = "Invalid value at 'message.android.ttl' (type.googleapis.com/Duration)"
_RATE_TEXT = "Quota exceeded for quota metric 'Send requests' and limit 'Send requests "
_DEVICE_QUOTA = {"subject": "device", "description": "Device message rate exceeded"}
_AUTH_TEXT = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, "
    "login cookie or other valid authentication credential."
)
_HTML = b"<!DOCTYPE html>\n<html lang=en><title>Error %d (Server Error)!!1</title>\n"

_UNAUTHENTICATED = _Failure(401, "UNAUTHENTICATED", _AUTH_TEXT)
_NOT_FOUND = _Failure(404, "NOT_FOUND", "Requested entity was not found.")
_QUOTA = _Failure(
    429,
    "RESOURCE_EXHAUSTED",
    "Sending limit exceeded for the message target.",
    "QUOTA_EXCEEDED",
    ({"@type": _QUOTA_FAILURE, "violations": [_DEVICE_QUOTA]},),
)
_UNAVAILABLE = _Failure(
    503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE"
)
_BAD_TOKEN = _Failure(400, "INVALID_ARGUMENT", _TOKEN_TEXT, "INVALID_ARGUMENT")

_FAILURES: Mapping[Fault, _Failure] = {
    Fault.DEAD: replace(_NOT_FOUND, code="UNREGISTERED"),
    Fault.BAD_TOKEN: _BAD_TOKEN,
    Fault.BAD_FIELD: replace(
        _BAD_TOKEN,
        message="Request contains an invalid argument.",
        details=(_violation("message.token", "Invalid registration token"),),
    ),
    Fault.BAD_PAYLOAD: _Failure(
        400,
        "INVALID_ARGUMENT",
        _TTL_TEXT,
        "INVALID_ARGUMENT",
        (_violation("message.android.ttl", _TTL_TEXT),),
    ),
    Fault.TOO_BIG: _Failure(400, "INVALID_ARGUMENT", "Message is too big"),
    Fault.MISMATCH: _Failure(
        403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"
    ),
    Fault.THIRD_PARTY: _Failure(
        401,
        "UNAUTHENTICATED",
        "Auth error from APNS or Web Push Service",
        "THIRD_PARTY_AUTH_ERROR",
    ),
    Fault.DENIED: _Failure(
        403,
        "PERMISSION_DENIED",
        "Permission 'cloudmessaging.messages.create' denied on the project.",
    ),
    Fault.LOST: _NOT_FOUND,
    Fault.QUOTA: _QUOTA,
    Fault.QUOTA_SECONDS: replace(_QUOTA, retry_after="7"),
    Fault.QUOTA_DATE: _QUOTA,  # the date is put in when it is sent
    Fault.PROJECT_QUOTA: _Failure(
        429,
        "RESOURCE_EXHAUSTED",
        _RATE_TEXT + "per minute' of service 'fcm.googleapis.com'.",
        "",
        (
            {
                "@type": _ERROR_INFO,
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {"quota_limit": "SendsPerMinutePerProject"},
            },
        ),
    ),
    Fault.UNAVAILABLE: replace(_UNAVAILABLE, retry_after="2"),
    Fault.INTERNAL: _Failure(
        500, "INTERNAL", "Internal error encountered.", "INTERNAL"
    ),
    Fault.FLAKY: _UNAVAILABLE,
    Fault.EXPIRED: _UNAUTHENTICATED,
}
_PAGES = {Fault.HTML: 502, Fault.GATEWAY: 504}
_ENDINGS = {
    Fault.SILENT: Ending.SILENCE,
    Fault.RESET: Ending.RESET,
    Fault.DROP: Ending.DROP,
}
_DATE_AHEAD_S = 30


class _Refused(Exception):
    """A message that FCM does not take: INVALID_ARGUMENT with its field."""

    def __init__(self, field: str, text: str) -> None:
        self.failure = _Failure(
            400,
            "INVALID_ARGUMENT",
            text,
            "INVALID_ARGUMENT",
            (_violation(field, text),),
        )
        super().__init__(text)


class Fcm(Imitation):
    """The token endpoint `/token` and `/v1/projects/<p>/messages:send`."""

    fast_reply = FAST_REPLY

    def __init__(
        self,
        account: AccountJudge,
        ledger: Ledger,
        faults: FaultPlan,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._account = account
        self._send_path = f"/v1/projects/{account.project_id}{_SEND_SUFFIX}"
        self._ledger = ledger
        self._faults = faults
        self._clock = clock
        self._access_tokens: dict[str, float] = {}
        self.account_file = ""

    @classmethod
    async def start(cls, place: Place) -> Fcm:
        """With its account in a file, whose key an earlier run may have made."""
        file = place.directory / "service-account.json"
        account = await asyncio.get_running_loop().run_in_executor(
            None, prepare_service_account, file, f"{place.origin}/token"
        )
        started = cls(account, place.ledger, place.faults)
        started.account_file = str(file)
        started.fast_path = started._send_path
        return started

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        file = str(Path(self.account_file).absolute())
        return {"credentials_file": file, **place.keys}

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (("service account", self.account_file),)

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not one of FCM's."""
        if request.path == self._send_path:
            return self._send(request)
        if request.path == "/token":
            return self._grant(request)
        if request.path.startswith("/v1/projects/") and request.path.endswith(
            _SEND_SUFFIX
        ):
            self._ledger.count("wrong_project")
            return _NOT_FOUND.reply()
        return None

    def expire_access_tokens(self) -> int:
        """Make every access token granted so far invalid; returns how many."""
        count = len(self._access_tokens)
        self._access_tokens.clear()
        return count

    def _grant(self, request: Request) -> Reply:
        fault = self._faults.take_token_fault()
        if fault is not None:
            self._ledger.count("token_fault")
            if fault.error:
                return json_reply(fault.status, {"error": fault.error})
            return Reply(fault.status, _HTML % fault.status, "text/html")
        try:
            self._account.check_assertion(_read_assertion(request), self._clock())
        except InvalidAssertion as refusal:
            self._ledger.count("token_refused")
            return json_reply(
                400, {"error": "invalid_grant", "error_description": str(refusal)}
            )
        self._ledger.count("token_granted")
        token = "ya29.simulated." + secrets.token_urlsafe(24)
        lifetime_s = self._faults.token_lifetime_s
        self._access_tokens[token] = self._clock() + lifetime_s
        return json_reply(
            200,
            {"access_token": token, "expires_in": lifetime_s, "token_type": "Bearer"},
        )

    def _send(self, request: Request) -> Reply:
        if not self._is_authorized(request.headers.get("authorization", "")):
            self._ledger.count("unauthenticated")
            return _UNAUTHENTICATED.reply()
        try:
            target, validate_only = _parse_send(request)
        except _Refused as refusal:
            self._ledger.count("invalid_message")
            return refusal.failure.reply()
        chosen = self._faults.choose(target)
        fault, slow_ms = chosen if chosen is not None else (None, 0)
        if fault is None or fault is Fault.SLOW:
            return self._accept(target, validate_only, slow_ms)
        if fault in SPOILT:
            return spoil(self._accept(target, validate_only, 0), fault)
        self._ledger.count(fault.value)
        if fault in _ENDINGS:
            if fault is Fault.DROP:
                self._ledger.deliver(target)
            return Reply(0, ending=_ENDINGS[fault])
        return self._late(_fault_reply(fault, self._clock()), 0)

    def _accept(self, target: str, validate_only: bool, slow_ms: int) -> Reply:
        if validate_only:
            self._ledger.count("validated")
            name = "fake_message_id"
        else:
            self._ledger.count("delivered")
            self._ledger.deliver(target)
            name = f"0:{secrets.token_hex(12)}"
        path = f"projects/{self._account.project_id}/messages/{name}"
        return self._late(Reply(200, b'{\n  "name": "%b"\n}' % path.encode()), slow_ms)

    def _late(self, reply: Reply, slow_ms: int) -> Reply:
        delay_ms = slow_ms + self._faults.latency_ms
        return replace(reply, delay_s=delay_ms / 1000) if delay_ms else reply

    def _is_authorized(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        expires = self._access_tokens.get(token, 0.0)
        return scheme.lower() == "bearer" and expires > self._clock()


def _read_assertion(request: Request) -> str:
    form = dict(urllib.parse.parse_qsl(request.body.decode("latin-1")))
    if request.method != "POST" or form.get("grant_type") != _GRANT:
        raise InvalidAssertion("Invalid grant_type")
    return form.get("assertion", "")


def _fault_reply(fault: Fault, now_s: float) -> Reply:
    if fault in _PAGES:
        status = _PAGES[fault]
        return Reply(status, _HTML % status, "text/html; charset=UTF-8")
    failure = _FAILURES[fault]
    if fault is Fault.QUOTA_DATE:
        date = formatdate(now_s + _DATE_AHEAD_S, usegmt=True)
        failure = replace(failure, retry_after=date)
    return failure.reply()


def _parse_send(request: Request) -> tuple[str, bool]:
    """The target and whether it is only a check; raises `_Refused`."""
    if request.method != "POST":
        raise _Refused("", "POST is needed")
    try:
        body = orjson.loads(request.body)
    except ValueError:
        raise _Refused("", "Invalid JSON payload received.") from None
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, dict):
        raise _Refused("message", "Message is not set")
    unknown = (message.keys() - _MESSAGE_FIELDS) | (
        body.keys() - {"message", "validate_only", "validateOnly"}
    )
    if unknown:
        name = min(unknown)
        raise _Refused(
            f"message.{name}",
            f"Invalid JSON payload received. Unknown name \"{name}\" at 'message': "
            "Cannot find field.",
        )
    given = [name for name in TARGETS if message.get(name)]
    if len(given) != 1:
        raise _Refused("message", "Exactly one of token, topic or condition is needed")
    target = message[given[0]]
    if not isinstance(target, str):
        raise _Refused(f"message.{given[0]}", "Invalid value, a string is needed")
    _check_data(message.get("data"), _PAYLOAD_LIMIT.get(given[0], _PAYLOAD_LIMIT_ELSE))
    check_only = body.get("validate_only") or body.get("validateOnly")
    return target, bool(check_only)


def _check_data(data: Any, limit: int) -> None:
    if data is None:
        return
    if not isinstance(data, dict):
        raise _Refused("message.data", "Invalid value at 'message.data'")
    size = 0
    for key, value in data.items():
        if not isinstance(value, str):
            raise _Refused(
                f"message.data[{key}].value", "Invalid value (TYPE_STRING expected)"
            )
        if key == "from" or key.startswith(_FORBIDDEN_DATA):
            raise _Refused("message.data", f"Invalid data payload key: {key}")
        size += len(key.encode()) + len(value.encode())
    if size > limit:
        raise _Refused("message", "Message is too big")
