"""VAPID keys in every form that tools give them out in, and subjects. Part of `config`.

Whatever form a key comes in, what is kept is base64url of the uncompressed point or of
the private number. It must not put a key into a message.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tocsin.config.pasted import (
    BEGIN,
    decode_any_base64,
    find_labels,
    pick_pem,
    read_text,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

POINT_BYTES = 65
NUMBER_BYTES = 32
_COMPRESSED_BYTES = 33
_PUBLIC_WORDS = (
    f"must be an uncompressed P-256 point, {POINT_BYTES} bytes in base64url that start "
    "with 0x04, as the page's applicationServerKey is; PEM or a JWK of it will do"
)
_PRIVATE_WORDS = (
    f"must be a P-256 private key, {NUMBER_BYTES} bytes in base64url; PEM or a JWK of "
    "it will do"
)
_SUBJECT_WORDS = "must be mailto:someone@example.com or an https: URL"
_UNREACHABLE = (
    "names {host}, where nobody can be reached: Apple refuses every push with it;"
    " write an address that exists, such as mailto:ops@example.com or"
    " https://example.com/contact"
)
_ODD = re.compile(r"[\s<>\"'\\]")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_RESERVED = frozenset(
    {
        *("localhost", "local", "localdomain", "invalid", "test", "example", "alt"),
        *("internal", "intranet", "corp", "home", "lan", "private", "onion", "arpa"),
    }
)
"""Last labels that never lead anywhere in the public DNS."""


def read_public(text: str) -> str:
    """The public key as the page's applicationServerKey; raises ValueError."""
    text = read_text(text)
    if not text:
        return ""
    point, number = _find(text, "publicKey", _PUBLIC_WORDS)
    if point is None and number is not None:
        raise ValueError("holds a private key; are the two keys swapped?")
    if point is None:
        raise ValueError(_PUBLIC_WORDS)
    return _encode(point)


def read_private(text: str) -> str:
    """The private key as base64url of its number; raises ValueError."""
    text = read_text(text)
    if not text:
        return ""
    point, number = _find(text, "privateKey", _PRIVATE_WORDS)
    if number is None and point is not None:
        raise ValueError("holds a public key; are the two keys swapped?")
    if number is None:
        raise ValueError(_PRIVATE_WORDS)
    return _encode(number)


def read_subject(text: str) -> str:
    """A subject that has the form of one; raises ValueError that says what to write."""
    text = text.strip()
    if not text:
        return text
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not text.isascii() or not text.isprintable() or _ODD.search(text):
        raise ValueError(f"{_SUBJECT_WORDS}, without blanks, brackets or quotes")
    if not colon and "@" in text:
        raise ValueError(f"{_SUBJECT_WORDS}: put mailto: in front")
    if scheme == "mailto":
        name, at, host = rest.partition("?")[0].rpartition("@")
        good = bool(at and name and host) and not re.search("^/|[@:]", name)
        good = good and "/" not in host
    else:
        good = scheme == "https" and bool(_host_of(text))
    if not good:
        raise ValueError(_SUBJECT_WORDS)
    return f"{scheme}:{rest}"


def find_subject_fault(subject: str) -> str:
    """Why Apple would refuse every push with this subject, or ""."""
    if not subject:
        return ""
    host = _host_of(subject).rstrip(".").lower()
    labels = host.split(".")
    numeric = labels[-1].isdigit() or _is_address(host)
    dead = len(labels) < 2 or labels[-1] in _RESERVED or numeric
    if dead or not all(_LABEL.fullmatch(label) for label in labels):
        return _UNREACHABLE.format(host=host or "no host")
    return ""


def _host_of(subject: str) -> str:
    if subject.lower().startswith("mailto:"):
        return subject[7:].partition("?")[0].rpartition("@")[2]
    try:
        return urlsplit(subject).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _find(text: str, name: str, words: str) -> tuple[bytes | None, bytes | None]:
    """The point and the number in a text, as far as it holds them."""
    if text.startswith("{"):
        return _from_json(text, name, words)
    if BEGIN in text:
        return _from_pem(text, words)
    raw = decode_any_base64(text)
    if raw is None:
        raise ValueError(words)
    if len(raw) == NUMBER_BYTES:
        return None, raw
    if len(raw) == POINT_BYTES and raw[0] == 4:
        return raw, None
    if len(raw) == _COMPRESSED_BYTES and raw[0] in (2, 3):
        return _uncompress(raw, words), None
    if raw[0] == 0x30:
        return _from_der(raw, words)
    raise ValueError(words)


def _from_json(text: str, name: str, words: str) -> tuple[bytes | None, bytes | None]:
    """A JWK, or the pair as the web-push command prints it."""
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(words) from None
    inner = fields.get(name)
    if isinstance(inner, str):
        return _find(read_text(inner), name, words)
    if isinstance(inner, dict):  # {"publicKey": {a JWK}, …}
        fields = inner
    if fields.get("kty") != "EC" or fields.get("crv") != "P-256":
        raise ValueError(words)
    found = {
        key: decode_any_base64(value)
        for key in ("x", "y", "d")
        if isinstance(value := fields.get(key), str)
    }
    if not all(part and len(part) == NUMBER_BYTES for part in found.values()):
        raise ValueError(words)
    x, y = found.get("x"), found.get("y")
    return (b"\x04" + x + y if x and y else None), found.get("d")


def _from_pem(text: str, words: str) -> tuple[bytes | None, bytes | None]:
    from cryptography.hazmat.primitives import serialization

    try:
        if private := pick_pem(text, "PRIVATE KEY"):
            key = serialization.load_pem_private_key(private.encode(), None)
            return None, _number_of(key, words)
        if public := pick_pem(text, "PUBLIC KEY"):
            return _point_of(
                serialization.load_pem_public_key(public.encode()), words
            ), None
    except (ValueError, TypeError):
        raise ValueError(words) from None
    labels = ", ".join(find_labels(text))
    raise ValueError(f"holds {labels}: {words}" if labels else words)


def _from_der(raw: bytes, words: str) -> tuple[bytes | None, bytes | None]:
    from cryptography.hazmat.primitives import serialization

    try:
        return _point_of(serialization.load_der_public_key(raw), words), None
    except (ValueError, TypeError):
        pass
    try:
        return None, _number_of(serialization.load_der_private_key(raw, None), words)
    except (ValueError, TypeError):
        raise ValueError(words) from None


def _uncompress(raw: bytes, words: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        raise ValueError(words) from None
    return _point_of(key, words)


def _point_of(key: object, words: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_p256(key):
        raise ValueError(words)
    numbers = key.public_numbers()
    return b"\x04" + b"".join(
        part.to_bytes(NUMBER_BYTES, "big") for part in (numbers.x, numbers.y)
    )


def _number_of(key: object, words: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _is_p256(key):
        raise ValueError(words)
    return key.private_numbers().private_value.to_bytes(NUMBER_BYTES, "big")


def _is_p256(
    key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey,
) -> bool:
    return key.curve.name == "secp256r1"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
