"""Message encryption for Web Push: aes128gcm (RFC 8188) with the keys of RFC 8291.

Pure bytes, and a thread to make them in: nothing here sends, and no key or plaintext
may reach a log line or an error.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tocsin.core.lanes import Priority
from tocsin.core.webpush import MAX_PAYLOAD_BYTES, WebPushTarget
from tocsin.providers.slots import Slots

CHUNK = 32
"""Messages per turn of the thread: about 4 ms of work, measured to cost least."""

_RECORD_BYTES = 4096
_SALT_BYTES = 16
_INFO = b"WebPush: info\0"
_KEY_INFO = b"Content-Encoding: aes128gcm\0\x01"
_NONCE_INFO = b"Content-Encoding: nonce\0\x01"
# RFC 8188 §2: this octet ends the plaintext of the last record.
_LAST_RECORD = b"\x02"
_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
_sha256 = partial(hmac.digest, digest="sha256")


class Unencryptable(ValueError):
    """No message can be made of this; the text says why and repeats nothing."""


def encrypt(
    plaintext: bytes,
    target: WebPushTarget,
    *,
    salt: bytes | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """The body of one push: a header of 86 bytes and one record.

    `salt` and `key` are fresh for each message; only tests of the RFC's examples
    give their own. Raises `Unencryptable`.
    """
    if len(plaintext) > MAX_PAYLOAD_BYTES:
        raise Unencryptable(f"more than {MAX_PAYLOAD_BYTES} bytes of payload")
    try:
        browser = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, target.p256dh)
    except ValueError:
        raise Unencryptable("p256dh is no point of P-256") from None
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    key = ec.generate_private_key(_CURVE) if key is None else key
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = _derive(
        target.auth,
        key.exchange(_ECDH, browser),
        _INFO + target.p256dh + point + b"\x01",
    )
    mixed = _sha256(salt, secret)
    content_key = _sha256(mixed, _KEY_INFO)[:16]
    nonce = _sha256(mixed, _NONCE_INFO)[:12]
    record = AESGCM(content_key).encrypt(nonce, plaintext + _LAST_RECORD, None)
    size = _RECORD_BYTES.to_bytes(4, "big")
    return b"".join((salt, size, len(point).to_bytes(1, "big"), point, record))


def _derive(salt: bytes, secret: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 for up to 32 bytes; `info` ends with its counter octet."""
    return _sha256(_sha256(salt, secret), info)


class Encryptor:
    """Encrypts off the event loop, one chunk at a time.

    The libraries underneath keep Python's lock while they compute, so that a second
    thread would only make the event loop wait: up to 5 ms each time it wakes. One
    chunk at a time bounds that to the chunk, and leaves the loop its turn after each.
    More cores are used by more worker processes.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="webpush-encrypt")
        self._turn = Slots(1)

    async def encrypt(
        self,
        messages: Sequence[tuple[bytes, WebPushTarget]],
        priority: Priority = Priority.NORMAL,
    ) -> list[bytes | Unencryptable]:
        """A body for each (plaintext, target), or why there is none."""
        loop = asyncio.get_running_loop()
        done: list[bytes | Unencryptable] = []
        for start in range(0, len(messages), CHUNK):
            chunk = messages[start : start + CHUNK]
            # Taken per chunk, so that batches take turns instead of one
            # after the other.
            async with self._turn.held(priority):
                done += await loop.run_in_executor(self._thread, _encrypt_all, chunk)
        return done

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _encrypt_all(
    messages: Sequence[tuple[bytes, WebPushTarget]],
) -> list[bytes | Unencryptable]:
    done: list[bytes | Unencryptable] = []
    for plaintext, target in messages:
        try:
            done.append(encrypt(plaintext, target))
        except Unencryptable as error:
            done.append(error)
    return done
