"""Reads PEM values: the text itself, base64 of it, or a path. Part of `config`.

It must not put a value into a message: what fails to parse may be a private key.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from pydantic import SecretStr

_BEGIN = b"-----BEGIN "


class PemError(ValueError):
    """A PEM value that cannot be used; the text says why, without the value."""


def load_pem(value: str | SecretStr) -> bytes:
    r"""The PEM bytes that a `*_pem` key stands for; raises `PemError`.

    PEM text may carry `\n` as two characters, as environment files write it. A
    relative path is looked up from the working folder.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    text = text.strip()
    if not text:
        raise PemError("is empty")
    if text.encode(errors="replace").startswith(_BEGIN):
        if "\n" not in text:
            text = text.replace("\\n", "\n")
        return text.encode() + b"\n"
    return _from_base64(text) or _from_file(text)


def _from_base64(text: str) -> bytes | None:
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if raw.lstrip().startswith(_BEGIN) else None


def _from_file(text: str) -> bytes:
    try:
        raw = Path(text).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise PemError(
            "is neither PEM text nor base64 of it, and cannot be read as a file "
            f"({reason})"
        ) from None
    if _BEGIN not in raw:
        raise PemError("names a file that holds no PEM")
    return raw
