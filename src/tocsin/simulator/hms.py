"""Huawei Push Kit as its documents describe it: OAuth, v1 and v2 send.

It decides answers only. A request has many tokens: `dead`, `badtoken` and `badfield`
make one of them illegal, every other word decides the whole request:

| words                                    | answer                                  |
|------------------------------------------|-----------------------------------------|
| `badpayload` / `toobig`                  | 80100003 / 80300008                     |
| `mismatch`                               | 80300007, whoever else is in it         |
| `denied` / `lost`                        | 80300002 / 404                          |
| `thirdparty`                             | 80300011: high priority not granted     |
| `quota`, `quotasec`, `quotadate`,        | 503: flow control, the middle two with  |
| `projectquota`, `unavailable`, `flaky`   | Retry-After, `unavailable` too          |
| `internal`                               | 81000001                                |
| `expired`                                | 80200003                                |
"""

from __future__ import annotations

import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tocsin.simulator.batches import (
    SINGLE,
    Fate,
    choose_fate,
    reply_without_words,
    retry_after,
)
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.faults import Fault, FaultPlan
from tocsin.simulator.imitation import Imitation, Place
from tocsin.simulator.ledger import Ledger

APP_ID = "100000001"
APP_SECRET = "simulated-hms-secret"
PROJECT_ID = "200000002"

_TOKEN_PATH = "/oauth2/v3/token"
_SEND_PATHS = (f"/v1/{APP_ID}/messages:send", f"/v2/{PROJECT_ID}/messages:send")
_TOKEN_LIMIT = 1000
_BODY_LIMIT = 4096
_FIELDS = frozenset(
    {"data", "notification", "android", "apns", "webpush", "token", "topic"}
    | {"condition"}
)

_SUCCESS = ("80000000", "Success")
_UNAUTHENTICATED = ("80200001", "OAuth authentication error")
_CODES: Mapping[Fault, tuple[str, str]] = {
    Fault.BAD_PAYLOAD: ("80100003", "Illegal payload"),
    Fault.TOO_BIG: ("80300008", "The size of message body exceeds the default value"),
    Fault.MISMATCH: ("80300007", "All the tokens are invalid"),
    Fault.DENIED: ("80300002", "No permission to send message to these tokens"),
    Fault.THIRD_PARTY: ("80300011", "No right to send high priority message"),
    Fault.INTERNAL: ("81000001", "System inner error"),
    Fault.EXPIRED: ("80200003", "OAuth token expired"),
}
_FLOW_CONTROL = frozenset(
    {
        Fault.QUOTA,
        Fault.QUOTA_SECONDS,
        Fault.QUOTA_DATE,
        Fault.PROJECT_QUOTA,
        Fault.UNAVAILABLE,
        Fault.FLAKY,
    }
)


class _Refused(Exception):
    """A request that Push Kit does not take, with its code and words."""

    def __init__(self, code: str, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


class Hms(Imitation):
    """`/oauth2/v3/token`, `/v1/<app>/messages:send`, `/v2/<project>/messages:send`."""

    def __init__(
        self,
        ledger: Ledger,
        faults: FaultPlan,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._faults = faults
        self._clock = clock
        self._access_tokens: dict[str, float] = {}

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {
            "app_id": APP_ID,
            "app_secret": APP_SECRET,
            "auth_endpoint": place.origin,
            "push_endpoint": place.origin,
            "ca_file": place.ca_file,
        }

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (
            ("HMS app id", APP_ID),
            ("HMS app secret", APP_SECRET),
            ("HMS project id", PROJECT_ID),
        )

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not one of Push Kit's."""
        if request.path in _SEND_PATHS:
            return self._send(request)
        if request.path == _TOKEN_PATH:
            return self._grant(request)
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
            return Reply(fault.status, b"<html>busy</html>", "text/html")
        form = dict(urllib.parse.parse_qsl(request.body.decode("latin-1")))
        wanted = {
            "grant_type": "client_credentials",
            "client_id": APP_ID,
            "client_secret": APP_SECRET,
        }
        if request.method != "POST" or form != wanted:
            self._ledger.count("token_refused")
            refusal = {"error": 1101, "error_description": "invalid client"}
            return json_reply(400, {"sub_error": 20155, **refusal})
        self._ledger.count("token_granted")
        token = "CgB6/simulated/" + secrets.token_urlsafe(24)
        lifetime_s = self._faults.token_lifetime_s
        self._access_tokens[token] = self._clock() + lifetime_s
        # Huawei's servers escape slashes, which JSON allows.
        escaped = token.replace("/", "\\/")
        body = f'{{"access_token":"{escaped}","expires_in":{lifetime_s},'
        return Reply(200, f'{body}"token_type":"Bearer"}}'.encode())

    def _send(self, request: Request) -> Reply:
        if not self._is_authorized(request.headers.get("authorization", "")):
            self._ledger.count("unauthenticated")
            return _answer(*_UNAUTHENTICATED, status=401)
        try:
            targets, is_token, validate_only = _parse_send(request)
        except _Refused as refusal:
            self._ledger.count("invalid_message")
            return _answer(refusal.code, refusal.text, status=400)
        single = SINGLE if is_token else frozenset[Fault]()
        fate = choose_fate(self._faults, targets, single=single)
        if fate.fault is not None:
            self._ledger.count(fate.fault.value)
            return fate.late(self._fail(fate.fault, targets))
        return fate.late(self._accept(targets, fate, validate_only))

    def _accept(self, targets: list[str], fate: Fate, validate_only: bool) -> Reply:
        # Huawei has a code of its own for a request of which no token is good.
        if len(fate.bad) == len(set(targets)):
            self._ledger.count("all_illegal")
            return _answer(*_CODES[Fault.MISMATCH])
        self._ledger.count("validated" if validate_only else "delivered")
        good = [target for target in targets if target not in fate.bad]
        if not validate_only:
            for target in good:
                self._ledger.deliver(target)
        if not fate.bad:
            return _answer(*_SUCCESS)
        details = {
            "success": len(good),
            "failure": len(targets) - len(good),
            "illegal_tokens": list(fate.bad),
        }
        return _answer("80100000", orjson.dumps(details).decode())

    def _fail(self, fault: Fault, targets: list[str]) -> Reply:
        reply = reply_without_words(fault, self._ledger, targets)
        if reply is not None:
            return reply
        if fault in _CODES:
            return _answer(*_CODES[fault])
        if fault in _FLOW_CONTROL:
            return Reply(503, headers=retry_after(fault, self._clock()))
        return Reply(404, b"Not Found", "text/plain")

    def _is_authorized(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        return scheme == "Bearer" and self._access_tokens.get(token, 0) > self._clock()


def _answer(code: str, text: str, *, status: int = 200) -> Reply:
    request_id = f"{time.time_ns()}{secrets.token_hex(4)}"
    return json_reply(status, {"code": code, "msg": text, "requestId": request_id})


def _parse_send(request: Request) -> tuple[list[str], bool, bool]:
    """Targets, whether they are tokens, whether to check only; raises `_Refused`."""
    try:
        body = orjson.loads(request.body)
    except ValueError:
        raise _Refused("80100003", "Incorrect message structure") from None
    message = body.get("message") if isinstance(body, dict) else None
    if request.method != "POST" or not isinstance(message, dict):
        raise _Refused("80100003", "Incorrect message structure")
    unknown = (message.keys() - _FIELDS) | (body.keys() - {"message", "validate_only"})
    if unknown:
        raise _Refused("80100001", f"Unknown parameter {min(unknown)}")
    given = [name for name in ("token", "topic", "condition") if message.get(name)]
    if len(given) != 1:
        raise _Refused("80100001", "One of token, topic and condition is needed")
    rest = {name: value for name, value in message.items() if name not in given}
    if len(orjson.dumps(rest)) > _BODY_LIMIT:
        raise _Refused("80300008", "The size of message body exceeds the default value")
    target: Any = message[given[0]]
    validate_only = body.get("validate_only") is True
    if given[0] != "token":
        return [_text(target)], False, validate_only
    if not isinstance(target, list) or len(target) > _TOKEN_LIMIT:
        raise _Refused("80300010", "The number of tokens exceeds the default value")
    return [_text(token) for token in target], True, validate_only


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Refused("80100001", "A text is needed")
    return value
