"""Apple's push service as its documents and clients describe it.

It decides answers only; connections, delays and SETTINGS belong to its listener.

Device tokens are hex. One whose bytes spell a word of `faults.py` and a hyphen meets
that fault (`646561642d31` is `dead-1`); a word may also be one of Apple's reasons in
lower case (`topicdisallowed-1`), always, or as often as the number behind it says.
For `unregistered` and `expiredtoken` the number is how many seconds ago the token
died. `goaway-1` closes the connection by a GOAWAY with a reason, once. A token whose
bytes are text is known to the ledger by that text.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate

import orjson

from tocsin.simulator.apns_keys import BUNDLE_ID, Refused, TokenJudge
from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.faults import SPOILT, Fault, FaultPlan
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.spoiling import spoil

SEND_PATH = "/3/device/"
FAST_REPLY = Reply(200, headers=(("apns-id", "00000000-0000-0000-0000-000000000000"),))
"""The one answer of the fast mode. A client that waits for its own `apns-id` hangs."""

REASONS: Mapping[str, int] = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}
"""Apple's reasons and the status that each comes with."""

_FAULT_REASONS: Mapping[Fault, str] = {
    Fault.DEAD: "Unregistered",
    Fault.BAD_TOKEN: "BadDeviceToken",
    Fault.BAD_FIELD: "BadCollapseId",
    Fault.BAD_PAYLOAD: "PayloadEmpty",
    Fault.TOO_BIG: "PayloadTooLarge",
    Fault.MISMATCH: "DeviceTokenNotForTopic",
    Fault.THIRD_PARTY: "BadEnvironmentKeyIdInToken",
    Fault.DENIED: "InvalidProviderToken",
    Fault.LOST: "BadPath",
    Fault.QUOTA: "TooManyRequests",
    Fault.QUOTA_SECONDS: "TooManyRequests",
    Fault.QUOTA_DATE: "TooManyRequests",
    Fault.PROJECT_QUOTA: "TooManyProviderTokenUpdates",
    Fault.UNAVAILABLE: "ServiceUnavailable",
    Fault.INTERNAL: "InternalServerError",
    Fault.FLAKY: "ServiceUnavailable",
    Fault.EXPIRED: "ExpiredProviderToken",
}
_WAITS = {Fault.QUOTA_SECONDS: "7", Fault.UNAVAILABLE: "2"}
_PAGES = {Fault.HTML: 502, Fault.GATEWAY: 504}
_ENDINGS = {
    Fault.SILENT: Ending.SILENCE,
    Fault.RESET: Ending.RESET,
    Fault.DROP: Ending.DROP,
}
_BY_WORD = {reason.lower(): reason for reason in REASONS}
_GONE = ("Unregistered", "ExpiredToken")
_WORD = re.compile(r"([a-z]+)([0-9]{0,6})-")
_HTML = b"<!DOCTYPE html>\n<html><title>Error %d</title></html>\n"
_DATE_AHEAD_S = 30

_SUFFIXES: Mapping[str, str] = {
    "alert": "",
    "background": "",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "location": ".location-query",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
_PAYLOAD_LIMIT, _VOIP_LIMIT = 4096, 5120
_COLLAPSE_LIMIT = 64


@dataclass(slots=True)
class Peer:
    """What one connection has shown so far.

    `app` is the UID of its client certificate, `key_id` the key that the first
    request pinned it to; `known` means that one of both was found good.
    """

    app: str = ""
    key_id: str = ""
    known: bool = False


class Apns:
    """`POST /3/device/<token>`."""

    def __init__(
        self,
        judge: TokenJudge,
        ledger: Ledger,
        faults: FaultPlan,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.judge = judge
        self.clock = clock
        self.requests: deque[Request] = deque(maxlen=1000)
        """The last ones, for tests to look into."""
        self._ledger = ledger
        self._faults = faults
        self._met: dict[str, int] = {}

    def answer(self, request: Request, peer: Peer) -> Reply:
        """The reply to any request, with the id that the client gave it."""
        self.requests.append(request)
        message_id = request.headers.get("apns-id") or str(uuid.uuid4()).upper()
        try:
            reply = self._send(request, peer)
        except Refused as refusal:
            self._ledger.count(refusal.reason)
            reply = _refusal(refusal.status, refusal.reason)
        headers = (("apns-id", message_id), *reply.headers)
        return replace(reply, headers=headers)

    def reset(self) -> None:
        """Forget how often each fault was met."""
        self._met.clear()

    def _send(self, request: Request, peer: Peer) -> Reply:
        if request.method != "POST":
            raise Refused(405, "MethodNotAllowed")
        if not request.path.startswith(SEND_PATH):
            raise Refused(404, "BadPath")
        token = request.path.removeprefix(SEND_PATH)
        if not token:
            raise Refused(400, "MissingDeviceToken")
        self._admit(request, peer)
        _check_headers(request, peer)
        return self._judge_token(token)

    def _admit(self, request: Request, peer: Peer) -> None:
        header = request.headers.get("authorization", "")
        # A client certificate needs no token.
        if peer.app and not header:
            peer.known = True
            return
        key_id = self.judge.check(header, self.clock())
        # The first request pins a connection to its key, as at Apple.
        if peer.key_id and key_id != peer.key_id:
            raise Refused(403, "UnrelatedKeyIdInToken")
        peer.key_id, peer.known = key_id, True

    def _judge_token(self, token: str) -> Reply:
        name = _name_of(token)
        own = self._own_fault(name)
        if own is not None:
            return own
        fault, slow_ms = self._faults.choose(name) or (None, 0)
        # Spoilt: only the answer goes wrong, the message is delivered.
        if fault is None or fault is Fault.SLOW or fault in SPOILT:
            self._ledger.count("delivered")
            self._ledger.deliver(name)
            return self._late(spoil(Reply(200), fault), slow_ms)
        self._ledger.count(fault.value)
        if fault in _ENDINGS:
            if fault is Fault.DROP:
                self._ledger.deliver(name)
            return Reply(0, ending=_ENDINGS[fault])
        return self._late(self._fault_reply(fault), 0)

    def _own_fault(self, name: str) -> Reply | None:
        """The fault of a word that only APNs has."""
        match = _WORD.match(name)
        word, number = match.groups() if match else ("", "")
        if word == "goaway":
            if not self._meets(name, int(number or 1)):
                return None
            self._ledger.count(word)
            return Reply(0, b'{"reason":"Shutdown"}', ending=Ending.GOODBYE)
        reason = _BY_WORD.get(word)
        if reason is None:
            return None
        if reason in _GONE:
            self._ledger.count(reason)
            return _refusal(410, reason, self.clock() - int(number or 0))
        if number and not self._meets(name, int(number)):
            return None
        raise Refused(REASONS[reason], reason)

    def _meets(self, name: str, times: int) -> bool:
        met = self._met.get(name, 0)
        self._met[name] = met + 1
        return met < times

    def _fault_reply(self, fault: Fault) -> Reply:
        if fault in _PAGES:
            status = _PAGES[fault]
            return Reply(status, _HTML % status, "text/html; charset=UTF-8")
        reason = _FAULT_REASONS[fault]
        died_s = self.clock() if reason in _GONE else None
        reply = _refusal(REASONS[reason], reason, died_s)
        wait = ""
        if fault is Fault.QUOTA_DATE:
            wait = formatdate(self.clock() + _DATE_AHEAD_S, usegmt=True)
        elif fault in _WAITS:
            wait = _WAITS[fault]
        return replace(reply, headers=(("retry-after", wait),)) if wait else reply

    def _late(self, reply: Reply, slow_ms: int) -> Reply:
        delay_ms = slow_ms + self._faults.latency_ms
        return replace(reply, delay_s=delay_ms / 1000) if delay_ms else reply


def _name_of(token: str) -> str:
    """The text that the token's bytes spell, or the token itself if they spell none."""
    try:
        raw = bytes.fromhex(token)
    except ValueError:
        raise Refused(400, "BadDeviceToken") from None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return token
    return text if text.isprintable() else token


def _refusal(status: int, reason: str, died_s: float | None = None) -> Reply:
    body: dict[str, str | int] = {"reason": reason}
    if died_s is not None:
        body["timestamp"] = int(died_s * 1000)
    return Reply(status, orjson.dumps(body), "application/json")


def _check_headers(request: Request, peer: Peer) -> None:
    """What Apple finds wrong before it looks at the device."""
    headers = request.headers
    push_type = headers.get("apns-push-type", "alert")
    if push_type not in _SUFFIXES:
        raise Refused(400, "InvalidPushType")
    topic = headers.get("apns-topic") or peer.app
    if not topic:
        raise Refused(400, "MissingTopic")
    if not topic.startswith(BUNDLE_ID):
        raise Refused(400, "TopicDisallowed")
    if topic != BUNDLE_ID + _SUFFIXES[push_type]:
        raise Refused(400, "BadTopic")
    priority = headers.get("apns-priority", "5" if push_type == "background" else "10")
    if priority not in ("1", "5", "10"):
        raise Refused(400, "BadPriority")
    if push_type == "background" and priority == "10":
        raise Refused(400, "BadPriority")
    if not headers.get("apns-expiration", "0").isdigit():
        raise Refused(400, "BadExpirationDate")
    if len(headers.get("apns-collapse-id", "").encode()) > _COLLAPSE_LIMIT:
        raise Refused(400, "BadCollapseId")
    try:
        uuid.UUID(headers.get("apns-id", "00000000000000000000000000000000"))
    except ValueError:
        raise Refused(400, "BadMessageId") from None
    _check_payload(request.body, push_type)


def _check_payload(body: bytes, push_type: str) -> None:
    if len(body) > (_VOIP_LIMIT if push_type == "voip" else _PAYLOAD_LIMIT):
        raise Refused(413, "PayloadTooLarge")
    try:
        payload = orjson.loads(body)
    except ValueError:
        payload = None
    if not isinstance(payload, dict) or not payload:
        raise Refused(400, "PayloadEmpty")
