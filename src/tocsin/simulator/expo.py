"""Expo's push service: tickets now, receipts later.

It decides answers only. A recipient's words, also inside `ExponentPushToken[…]`:

| words                                    | answer                                   |
|------------------------------------------|------------------------------------------|
| `dead`                                   | ticket; receipt DeviceNotRegistered      |
| `badtoken`, `badfield`                   | ticket error DeviceNotRegistered         |
| `toobig`                                 | ticket error MessageTooBig               |
| `quota`                                  | ticket; receipt MessageRateExceeded      |
| `mismatch` / `thirdparty`                | ticket; receipt MismatchSenderId /       |
|                                          | InvalidCredentials                       |
| `badpayload`                             | 400 VALIDATION_ERROR, for the request    |
| `denied`, `expired`                      | 401 UNAUTHORIZED                         |
| `lost`                                   | 404                                      |
| `quotasec`, `quotadate`, `projectquota`  | 429 TOO_MANY_REQUESTS                    |
| `unavailable`, `flaky` / `internal`      | 503 / 500                                |

A token that ends with `@name` belongs to that project; a request takes one project.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tocsin.simulator.batches import (
    Fate,
    choose_fate,
    reply_without_words,
    retry_after,
)
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.faults import Fault, FaultPlan
from tocsin.simulator.imitation import Imitation, Place
from tocsin.simulator.ledger import Ledger

ACCESS_TOKEN = "simulated-expo-access-token"

_SEND = "/--/api/v2/push/send"
_RECEIPTS = "/--/api/v2/push/getReceipts"
_MESSAGE_LIMIT = 100
_RECEIPT_LIMIT = 1000
_INNER = re.compile(r"Expo(?:nent)?PushToken\[(.*)\]", re.DOTALL)

_IN_TICKET: Mapping[Fault, str] = {
    Fault.BAD_TOKEN: "DeviceNotRegistered",
    Fault.BAD_FIELD: "DeviceNotRegistered",
    Fault.TOO_BIG: "MessageTooBig",
}
_IN_RECEIPT: Mapping[Fault, str] = {
    Fault.DEAD: "DeviceNotRegistered",
    Fault.QUOTA: "MessageRateExceeded",
    Fault.MISMATCH: "MismatchSenderId",
    Fault.THIRD_PARTY: "InvalidCredentials",
}
_SINGLE = frozenset({*_IN_TICKET, *_IN_RECEIPT})
_OF_REQUEST: Mapping[Fault, tuple[int, str]] = {
    Fault.BAD_PAYLOAD: (400, "VALIDATION_ERROR"),
    Fault.DENIED: (401, "UNAUTHORIZED"),
    Fault.EXPIRED: (401, "UNAUTHORIZED"),
    Fault.QUOTA_SECONDS: (429, "TOO_MANY_REQUESTS"),
    Fault.QUOTA_DATE: (429, "TOO_MANY_REQUESTS"),
    Fault.PROJECT_QUOTA: (429, "TOO_MANY_REQUESTS"),
    Fault.UNAVAILABLE: (503, "SERVICE_UNAVAILABLE"),
    Fault.FLAKY: (503, "SERVICE_UNAVAILABLE"),
    Fault.INTERNAL: (500, "INTERNAL_SERVER_ERROR"),
}


class _Refused(Exception):
    """A request that Expo does not take."""

    def __init__(self, code: str, text: str, **details: Any) -> None:
        self.code, self.text, self.details = code, text, details
        super().__init__(text)


class Expo(Imitation):
    """`push/send` and `push/getReceipts`.

    With an `authorization` header its token must be `ACCESS_TOKEN`; without one
    everybody may send, as with Expo's default. Receipts of the last sends are
    there at once; `withhold_receipts` hides them.
    """

    def __init__(
        self,
        ledger: Ledger,
        faults: FaultPlan,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._faults = faults
        self._clock = clock
        self._receipts: dict[str, Mapping[str, Any]] = {}
        self.withhold_receipts = False

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {"access_token": ACCESS_TOKEN, **place.keys}

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (("Expo access token", ACCESS_TOKEN),)

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not one of Expo's."""
        if request.path not in (_SEND, _RECEIPTS):
            return None
        if not _may_send(request.headers.get("authorization")):
            self._ledger.count("unauthenticated")
            return _errors(401, "UNAUTHORIZED", "The bearer token is invalid.")
        try:
            body = _parse(request)
            if request.path == _RECEIPTS:
                return self._tell(body)
            return self._send(body)
        except _Refused as refusal:
            self._ledger.count("invalid_message")
            return _errors(400, refusal.code, refusal.text, refusal.details)

    def _tell(self, body: Any) -> Reply:
        ids = body.get("ids") if isinstance(body, dict) else None
        if not isinstance(ids, list):
            raise _Refused("VALIDATION_ERROR", '"ids" must be an array')
        if len(ids) > _RECEIPT_LIMIT:
            raise _Refused("PUSH_TOO_MANY_RECEIPTS", "Too many receipts at once")
        self._ledger.count("receipts")
        known = {} if self.withhold_receipts else self._receipts
        found = {id: known[id] for id in ids if id in known}
        return json_reply(200, {"data": found})

    def _send(self, body: Any) -> Reply:
        messages = body if isinstance(body, list) else [body]
        targets = _recipients(messages)
        _check_projects(targets)
        names = {target: _inner(target) for target in targets}
        fate = choose_fate(self._faults, targets, single=_SINGLE, names=names)
        if fate.fault is not None:
            self._ledger.count(fate.fault.value)
            return fate.late(self._fail(fate.fault, targets))
        self._ledger.count("delivered")
        tickets = [self._ticket(target, fate) for target in targets]
        # As Expo does: for a single message `data` is an object.
        one = isinstance(body, dict) and isinstance(body["to"], str)
        return fate.late(json_reply(200, {"data": tickets[0] if one else tickets}))

    def _ticket(self, target: str, fate: Fate) -> Mapping[str, Any]:
        fault = fate.bad.get(target)
        if fault is not None and fault in _IN_TICKET:
            return _error(_IN_TICKET[fault], target)
        id = f"{secrets.token_hex(4)}-{secrets.token_hex(12)}"
        self._receipts[id] = {"status": "ok"}
        if fault is not None:
            self._receipts[id] = _error(_IN_RECEIPT[fault], target)
        self._ledger.deliver(target)
        return {"status": "ok", "id": id}

    def _fail(self, fault: Fault, targets: list[str]) -> Reply:
        reply = reply_without_words(fault, self._ledger, targets)
        if reply is not None:
            return reply
        if fault not in _OF_REQUEST:
            return Reply(404, b"Not Found", "text/plain")
        status, code = _OF_REQUEST[fault]
        text = f"{code} for {targets[0]}"
        return _errors(status, code, text, headers=retry_after(fault, self._clock()))


def _may_send(authorization: str | None) -> bool:
    return authorization in (None, f"Bearer {ACCESS_TOKEN}")


def _parse(request: Request) -> Any:
    if request.method != "POST":
        raise _Refused("VALIDATION_ERROR", "POST is needed")
    try:
        return orjson.loads(request.body)
    except ValueError:
        raise _Refused("VALIDATION_ERROR", "The request body is no JSON") from None


def _recipients(messages: list[Any]) -> list[str]:
    """Everybody in order: a message may have several in `to`."""
    targets: list[str] = []
    for message in messages:
        to = message.get("to") if isinstance(message, dict) else None
        some = [to] if isinstance(to, str) else to
        if not isinstance(some, list) or not some:
            raise _Refused("VALIDATION_ERROR", '"to" is required')
        if not all(isinstance(one, str) for one in some):
            raise _Refused("VALIDATION_ERROR", '"to" must hold texts')
        targets += some
    if not targets:
        raise _Refused("VALIDATION_ERROR", '"value" must contain a message')
    if len(targets) > _MESSAGE_LIMIT:
        raise _Refused("PUSH_TOO_MANY_NOTIFICATIONS", "Too many messages at once")
    return targets


def _check_projects(targets: list[str]) -> None:
    projects: dict[str, list[str]] = {}
    for target in targets:
        project = _inner(target).rpartition("@")[2] if "@" in target else "default"
        projects.setdefault(f"@tocsin/{project}", []).append(target)
    if len(projects) > 1:
        text = "All push notification messages in the same request must be for one"
        raise _Refused("PUSH_TOO_MANY_EXPERIENCE_IDS", text, **projects)


def _inner(token: str) -> str:
    match = _INNER.fullmatch(token)
    return match[1] if match else token


def _error(code: str, target: str) -> Mapping[str, Any]:
    return {
        "status": "error",
        "message": f'"{target}": {code}',
        "details": {"error": code, "expoPushToken": target},
    }


def _errors(
    status: int,
    code: str,
    text: str,
    details: Mapping[str, Any] | None = None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    error: dict[str, Any] = {"code": code, "message": text, "isTransient": False}
    if details:
        error["details"] = details
    return json_reply(status, {"errors": [error]}, headers=headers)
