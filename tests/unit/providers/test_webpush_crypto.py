from __future__ import annotations

import asyncio
import base64
import os

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tocsin.core.webpush import MAX_PAYLOAD_BYTES, WebPushTarget
from tocsin.providers.webpush_crypto import CHUNK, Encryptor, Unencryptable, encrypt


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _private(text: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(_bytes(text), "big")
    return ec.derive_private_key(number, ec.SECP256R1())


def _browser() -> tuple[ec.EllipticCurvePrivateKey, WebPushTarget]:
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key, WebPushTarget("https://push.example/1", point, os.urandom(16))


def _open(body: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    opened: bytes = http_ece.decrypt(
        body, private_key=key, auth_secret=auth, version="aes128gcm"
    )
    return opened


def test_the_example_of_the_standard() -> None:
    """RFC 8291, appendix A: the same keys and salt give the same bytes."""
    target = WebPushTarget(
        "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
        _bytes(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ),
        _bytes("BTBZMqHH6r4Tts7J_aSIgg"),
    )
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        target,
        salt=_bytes("DGv6ra1nlYgDCS1FRnbzlw"),
        key=_private("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
    )
    assert body == _bytes(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@pytest.mark.parametrize("size", [0, 1, 300, MAX_PAYLOAD_BYTES])
def test_others_can_decrypt(size: int) -> None:
    """Any payload up to the limit; the record never exceeds 4096 bytes."""
    key, target = _browser()
    plaintext = os.urandom(size)
    body = encrypt(plaintext, target)
    assert len(body) == 86 + size + 17 <= 4096
    assert _open(body, key, target.auth) == plaintext


def test_every_message_has_its_own_key_and_salt() -> None:
    """Two messages share no octet of their headers but the sizes."""
    _, target = _browser()
    first, second = encrypt(b"same", target), encrypt(b"same", target)
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]
    assert first[16:21] == second[16:21] == b"\x00\x00\x10\x00\x41"


@pytest.mark.parametrize(
    ("size", "point", "reason"),
    [
        (MAX_PAYLOAD_BYTES + 1, None, "3993"),
        (1, b"\x04" + b"\x01" * 64, "p256dh"),
        (1, b"", "p256dh"),
    ],
)
def test_what_cannot_be_encrypted(size: int, point: bytes | None, reason: str) -> None:
    """The fault is named, and holds neither key nor payload."""
    _, target = _browser()
    if point is not None:
        target = WebPushTarget(target.endpoint, point, target.auth)
    with pytest.raises(Unencryptable, match=reason):
        encrypt(b"x" * size, target)


async def test_the_encryptor_keeps_order_and_faults_apart() -> None:
    """Several chunks of several callers at once; a bad one harms no other."""
    encryptor = Encryptor()
    key, target = _browser()
    bad = WebPushTarget("", b"\x04" * 65, target.auth)
    count = 2 * CHUNK + 3
    messages = [(b"%d" % n, bad if n == CHUNK else target) for n in range(count)]
    try:
        both = await asyncio.gather(*(encryptor.encrypt(messages) for _ in range(2)))
    finally:
        encryptor.close()
    for done in both:
        assert len(done) == count
        for number, body in enumerate(done):
            if number == CHUNK:
                assert isinstance(body, Unencryptable)
            else:
                assert isinstance(body, bytes)
                assert _open(body, key, target.auth) == b"%d" % number
    assert await Encryptor().encrypt([]) == []
