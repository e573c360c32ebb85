"""A Web Push service as its standards describe it, and the browsers behind it.

Subscriptions are made here with keys of their own, so that each message is decrypted
and proven. It decides answers only. Words in front of a subscription's name:

| words                                      | answer                                |
|--------------------------------------------|---------------------------------------|
| `dead`                                     | 410                                   |
| `badtoken`, `lost`                         | 404                                   |
| `badpayload`, `badfield`, `thirdparty`     | 400, the last one in the words of WNS |
| `toobig`                                   | 413                                   |
| `mismatch`, `denied`                       | 403, 401                              |
| `expired`                                  | 401 once                              |
| `quota`, `quotasec`, `quotadate`,          | 429, the middle two with Retry-After  |
| `projectquota`                             |                                       |
| `unavailable`, `flaky`                     | 503, the first with Retry-After       |
| `internal`, `html`, `gateway`              | 500, 502, 504                         |
| `moved`                                    | 301 with a Location                   |
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tocsin.simulator.certificates import write_private
from tocsin.simulator.exchange import Ending, Reply, Request, json_reply
from tocsin.simulator.faults import SLOW_MS, SPOILT, Fault, FaultPlan
from tocsin.simulator.imitation import Imitation, Place
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.spoiling import spoil

PUSH_PATH = "/wpush/"

_KEYS_FILE = "vapid.json"
_CONTROL = "/control/webpush/"
_BODY_LIMIT = 4096
_LONGEST_LIFE_S = 86_400
_CLOCK_SKEW_S = 300
_DATE_AHEAD_S = 30
_CURVE = ec.SECP256R1()

_VAPID = re.compile(r"vapid\s+t=([^,\s]+)\s*,\s*k=([^,\s]+)", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,10}")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})

_STATUS: Mapping[Fault, int] = {
    Fault.DEAD: 410,
    Fault.BAD_TOKEN: 404,
    Fault.LOST: 404,
    Fault.BAD_FIELD: 400,
    Fault.BAD_PAYLOAD: 400,
    Fault.THIRD_PARTY: 400,
    Fault.TOO_BIG: 413,
    Fault.MISMATCH: 403,
    Fault.DENIED: 401,
    Fault.EXPIRED: 401,
    Fault.QUOTA: 429,
    Fault.QUOTA_SECONDS: 429,
    Fault.QUOTA_DATE: 429,
    Fault.PROJECT_QUOTA: 429,
    Fault.UNAVAILABLE: 503,
    Fault.FLAKY: 503,
    Fault.INTERNAL: 500,
    Fault.HTML: 502,
    Fault.GATEWAY: 504,
}
_RETRY_AFTER = {Fault.QUOTA_SECONDS: "7", Fault.UNAVAILABLE: "2"}
_ENDINGS = {
    Fault.SILENT: Ending.SILENCE,
    Fault.RESET: Ending.RESET,
    Fault.DROP: Ending.DROP,
}
_WNS_REASON = ("x-wns-error-description", "X-WNS-Cache-Policy is not acceptable")


class _Refused(Exception):
    """A push that a real service would not take."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Received:
    """The last message of one subscription, decrypted, with its request's headers."""

    plaintext: bytes
    headers: Mapping[str, str]
    count: int


@dataclass(frozen=True, slots=True)
class _Browser:
    """One subscription from the inside."""

    private: ec.EllipticCurvePrivateKey
    point: bytes
    auth: bytes
    server_key: str


class WebPush(Imitation):
    """`/wpush/<name>` for pushes, and `/control/webpush/` for tests.

    `origins` are those that a VAPID token may name as its audience; the first is
    that of new subscriptions.
    """

    def __init__(
        self,
        origins: tuple[str, ...],
        ledger: Ledger,
        faults: FaultPlan,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._origins = origins
        self._ledger = ledger
        self._faults = faults
        self._clock = clock
        self._browsers: dict[str, _Browser] = {}
        self._received: dict[str, Received] = {}

    @classmethod
    def start(cls, place: Place) -> WebPush:
        """With the origin of its address, and the one of the name `localhost`."""
        origins = (place.origin, f"https://localhost:{place.port}")
        return cls(origins, place.ledger, place.faults)

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`; the VAPID key of an earlier run in the folder is kept."""
        return {
            **_kept_keys(place.directory / _KEYS_FILE),
            "subject": "mailto:ops@example.com",
            "allowed_endpoint_origins": [place.origin],
            "allow_private_addresses": True,
            "ca_file": place.ca_file,
        }

    def new_token(self, name: str) -> str:
        """The subscription that a browser of that name would hand out."""
        return json.dumps(self.new_subscription(name))

    def new_subscription(
        self, name: str = "", *, application_server_key: str = ""
    ) -> dict[str, Any]:
        """A PushSubscription as a browser writes it; a known name gets new keys.

        With `application_server_key` (base64url) only that VAPID key may push to it.
        """
        name = name or secrets.token_urlsafe(24)
        private = ec.generate_private_key(_CURVE)
        point = private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        auth = secrets.token_bytes(16)
        self._browsers[name] = _Browser(private, point, auth, application_server_key)
        return {
            "endpoint": f"{self._origins[0]}{PUSH_PATH}{quote(name, safe='')}",
            "expirationTime": None,
            "keys": {"p256dh": _encode(point), "auth": _encode(auth)},
        }

    def received(self, name: str) -> Received | None:
        """The last message that this subscription got."""
        return self._received.get(name)

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not ours."""
        if request.path.startswith(PUSH_PATH):
            name = unquote(request.path.removeprefix(PUSH_PATH))
            return self._push(request, name)
        if request.path == f"{_CONTROL}subscriptions" and request.method == "POST":
            return self._subscribe(request.body)
        if request.path.startswith(f"{_CONTROL}messages/"):
            return self._show(unquote(request.path.rpartition("/")[2]))
        return None

    # -- pushing --------------------------------------------------------------

    def _push(self, request: Request, name: str) -> Reply:
        try:
            browser = self._browsers.get(name)
            if request.method != "POST":
                raise _Refused(405, "POST is needed")  # noqa: TRY301 - one place answers
            if browser is None:
                raise _Refused(404, "no such subscription")  # noqa: TRY301 - as above
            self._check_vapid(request.headers.get("authorization", ""), browser)
            _check_headers(request)
            return self._decide(request, name, browser)
        except _Refused as refusal:
            self._ledger.count(f"webpush_{refusal.status}")
            return json_reply(
                refusal.status, {"code": refusal.status, "message": str(refusal)}
            )

    def _decide(self, request: Request, name: str, browser: _Browser) -> Reply:
        slow_ms = 0
        if name.startswith("moved-"):
            self._ledger.count("moved")
            return Reply(301, headers=(("location", f"{PUSH_PATH}elsewhere"),))
        chosen = self._faults.choose(name)
        if chosen is not None:
            fault, slow_ms = chosen
            if fault is not Fault.SLOW and fault not in SPOILT:
                self._ledger.count(fault.value)
                if fault is Fault.DROP:
                    self._accept(request, name, browser)
                if fault in _ENDINGS:
                    return Reply(0, ending=_ENDINGS[fault])
                return self._fail(fault)
            slow_ms = slow_ms or (SLOW_MS if fault is Fault.SLOW else 0)
        self._accept(request, name, browser)
        self._ledger.count("delivered")
        location = f"{self._origins[0]}/m/{secrets.token_urlsafe(18)}"
        ttl = request.headers["ttl"]
        reply = Reply(201, headers=(("location", location), ("ttl", ttl)))
        reply = spoil(reply, chosen[0] if chosen is not None else None)
        delay_ms = slow_ms + self._faults.latency_ms
        return replace(reply, delay_s=delay_ms / 1000) if delay_ms else reply

    def _accept(self, request: Request, name: str, browser: _Browser) -> None:
        plaintext = _decrypt(request.body, browser)
        self._ledger.deliver(name)
        before = self._received.get(name)
        count = before.count + 1 if before else 1
        self._received[name] = Received(plaintext, dict(request.headers), count)

    def _fail(self, fault: Fault) -> Reply:
        headers: list[tuple[str, str]] = []
        if fault in _RETRY_AFTER:
            headers.append(("retry-after", _RETRY_AFTER[fault]))
        elif fault is Fault.QUOTA_DATE:
            date = formatdate(self._clock() + _DATE_AHEAD_S, usegmt=True)
            headers.append(("retry-after", date))
        elif fault is Fault.THIRD_PARTY:
            headers.append(_WNS_REASON)
        status = _STATUS[fault]
        return json_reply(
            status,
            {"code": status, "message": f"simulated {fault.value}"},
            headers=tuple(headers),
        )

    def _check_vapid(self, header: str, browser: _Browser) -> None:
        match = _VAPID.fullmatch(header.strip())
        if match is None:
            raise _Refused(401, "Authorization: vapid t=…, k=… is needed")
        token, key = match.groups()
        claims = _verify(token, key)
        now_s = self._clock()
        expires = claims.get("exp")
        if claims.get("aud") not in self._origins:
            raise _Refused(401, "aud is not the origin of the endpoint")
        if not isinstance(expires, int | float) or expires <= now_s:
            raise _Refused(401, "the token has expired")
        if expires > now_s + _LONGEST_LIFE_S + _CLOCK_SKEW_S:
            raise _Refused(401, "exp is more than 24 hours ahead")
        if not str(claims.get("sub", "")).startswith(("mailto:", "https:")):
            raise _Refused(401, "sub must be mailto: or https:")
        if browser.server_key and key.rstrip("=") != browser.server_key.rstrip("="):
            raise _Refused(403, "subscribed with another application server key")

    # -- control --------------------------------------------------------------

    def _subscribe(self, body: bytes) -> Reply:
        """`names`, or `count` and `prefix`; `applicationServerKey` binds them."""
        try:
            wish: Any = orjson.loads(body)
            names = wish.get("names")
            if names is None:
                prefix = str(wish.get("prefix", "device-"))
                names = [f"{prefix}{number}" for number in range(int(wish["count"]))]
            key = str(wish.get("applicationServerKey", ""))
            made = [
                self.new_subscription(name, application_server_key=key)
                for name in names
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return json_reply(400, {"error": "names, or count, and prefix are needed"})
        return json_reply(200, {"subscriptions": made})

    def _show(self, name: str) -> Reply:
        last = self._received.get(name)
        if last is None:
            return json_reply(404, {"error": "no message for that name"})
        return json_reply(
            200,
            {
                "text": last.plaintext.decode("utf-8", "replace"),
                "headers": dict(last.headers),
                "count": last.count,
            },
        )


def _kept_keys(file: Path) -> dict[str, str]:
    """A VAPID pair as Tocsin's keys, so that a written configuration stays good."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {
            name: str(kept[name]) for name in ("vapid_public_key", "vapid_private_key")
        }
    except (OSError, ValueError, KeyError, TypeError):
        public, private = make_vapid_keys()
        made = {"vapid_public_key": public, "vapid_private_key": private}
        write_private(file, json.dumps(made).encode())
        return made


def make_vapid_keys() -> tuple[str, str]:
    """A public and a private key in base64url, for a configuration."""
    private = ec.generate_private_key(_CURVE)
    point = private.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    number = private.private_numbers().private_value
    return _encode(point), _encode(number.to_bytes(32, "big"))


def _check_headers(request: Request) -> None:
    headers = request.headers
    if not _SECONDS.fullmatch(headers.get("ttl", "")):
        raise _Refused(400, "TTL is missing or no number")
    if headers.get("urgency", "normal").lower() not in _URGENCIES:
        raise _Refused(400, "Urgency is none of the standard's")
    if "topic" in headers and not _TOPIC.fullmatch(headers["topic"]):
        raise _Refused(400, "Topic is not 1 to 32 characters of base64url")
    if headers.get("content-encoding") != "aes128gcm":
        raise _Refused(415, "Content-Encoding must be aes128gcm")
    if len(request.body) > _BODY_LIMIT:
        raise _Refused(413, f"more than {_BODY_LIMIT} bytes")


def _verify(token: str, key: str) -> dict[str, Any]:
    """The claims of a token that this key signed."""
    try:
        head, claims, signature = token.split(".")
        point, raw = _decode(key), _decode(signature)
        public = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
        if orjson.loads(_decode(head)).get("alg") != "ES256" or len(raw) != 64:
            raise _Refused(401, "the token must be signed with ES256")
        numbers = (int.from_bytes(part, "big") for part in (raw[:32], raw[32:]))
        public.verify(
            encode_dss_signature(*numbers),
            f"{head}.{claims}".encode(),
            ec.ECDSA(hashes.SHA256()),
        )
        found = orjson.loads(_decode(claims))
    except InvalidSignature:
        raise _Refused(401, "the token is not signed by k") from None
    except (ValueError, AttributeError):
        raise _Refused(401, "the token or the key cannot be read") from None
    if not isinstance(found, dict):
        raise _Refused(401, "the claims are no object")
    return found


def _decrypt(body: bytes, browser: _Browser) -> bytes:
    """The plaintext of one aes128gcm record (RFC 8188, RFC 8291)."""
    salt, size, key_length = body[:16], int.from_bytes(body[16:20], "big"), body[20:21]
    sender, record = body[21:86], body[86:]
    if key_length != b"\x41" or len(sender) != 65 or size < 18 or len(record) > size:
        raise _Refused(400, "the header of the body is not that of aes128gcm")
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, sender)
        shared = browser.private.exchange(ec.ECDH(), public)
        info = b"WebPush: info\0" + browser.point + sender
        secret = _derive(browser.auth, shared, info, 32)
        key = _derive(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derive(salt, secret, b"Content-Encoding: nonce\0", 12)
        # RFC 8188 lets zeros follow the octet that ends the plaintext.
        padded = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\0")
    except (ValueError, InvalidTag):
        raise _Refused(400, "the body cannot be decrypted") from None
    if padded[-1:] != b"\x02":
        raise _Refused(400, "the record is not marked as the last")
    return padded[:-1]


def _derive(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
