r"""Reads credentials as people really paste them. Part of `config`; pure.

Editors add byte order marks, shells and environment files keep `\n` as two characters,
web forms fold lines, copies come with quotes around them. What is meant is clear in all
of these, so it is taken. It must not put a value into a message.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator

BEGIN = "-----BEGIN "
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_QUOTES = "\"'`"
_ESCAPED_END = re.compile(r"\\+r\\+n|\\+[nr]")
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_WIDTH = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]+")


def read_text(raw: bytes | str) -> str:
    """The text of a file or a value: no byte order mark, no blanks or quotes around.

    Bytes that are no text come back with replacement characters; the caller refuses
    them.
    """
    if isinstance(raw, bytes):
        encoding = "utf-8"
        for mark, name in _MARKS:
            if raw.startswith(mark):
                raw, encoding = raw.removeprefix(mark), name
                break
        raw = raw.decode(encoding, "replace")
    text = raw.strip().lstrip("\ufeff").strip()
    # Again and again: quotes of an environment file may stand around those of a
    # shell.
    while len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        text = text[1:-1].strip()
    return text


def tidy_pem(raw: bytes | str) -> str:
    r"""The PEM blocks of a text as every library reads them, or "" where it has none.

    Taken: `\n` as two characters, lines folded into one or indented, other line ends,
    no line end at the end, words before, between and after the blocks.
    """
    return "".join(_wrap(label, body) for label, body in _blocks(raw))


def find_labels(raw: bytes | str) -> list[str]:
    """What the PEM blocks of a text say they are: `PRIVATE KEY`, `CERTIFICATE`."""
    return [label for label, _ in _blocks(raw)]


def pick_all_pem(raw: bytes | str, suffix: str) -> str:
    """All PEM blocks whose labels end so, tidy; "" where there is none."""
    return "".join(
        _wrap(label, body) for label, body in _blocks(raw) if label.endswith(suffix)
    )


def pick_pem(raw: bytes | str, suffix: str) -> str:
    """The first PEM block whose label ends so, tidy; "" where there is none."""
    for label, body in _blocks(raw):
        if label.endswith(suffix):
            return _wrap(label, body)
    return ""


def pem_of(der: bytes, label: str) -> str:
    """DER as a PEM block."""
    return _wrap(label, base64.b64encode(der).decode())


def decode_any_base64(text: str) -> bytes | None:
    """Bytes of base64 in either alphabet, folded or not, padded or not; or None."""
    packed = "".join(_ESCAPED_END.sub("", text).split())
    if BEGIN in text or not _BASE64.fullmatch(packed):
        return None
    # Padding is made anew, since it is often lost.
    packed = packed.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except binascii.Error:
        return None


def _blocks(raw: bytes | str) -> Iterator[tuple[str, str]]:
    text = _ESCAPED_END.sub("\n", read_text(raw))
    for match in _BLOCK.finditer(text):
        yield match[1], match[2]


def _wrap(label: str, body: str) -> str:
    lines = [line.strip() for line in body.strip().splitlines()]
    if not any(":" in line for line in lines):  # headers, as of old encrypted keys
        packed = "".join("".join(lines).split())
        lines = [packed[at : at + _WIDTH] for at in range(0, len(packed), _WIDTH)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))
