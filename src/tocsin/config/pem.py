"""Reads PEM values: the text itself, base64 of it, or a path. Part of `config`.

It must not put a value into a message: what fails to parse may be a private key.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from tocsin.config.pasted import BEGIN, decode_any_base64, read_text, tidy_pem


class PemError(ValueError):
    """A PEM value that cannot be used; the text says why, without the value."""


def load_pem(value: str | SecretStr) -> bytes:
    r"""The PEM bytes that a `*_pem` key stands for, tidy; raises `PemError`.

    PEM text may be pasted in any of the ways that `pasted` reads: with `\n` as two
    characters, as environment files write it, with a byte order mark, folded. A
    relative path is looked up from the working folder.
    """
    text = read_text(
        value.get_secret_value() if isinstance(value, SecretStr) else value
    )
    if not text:
        raise PemError("is empty")
    # The text first: a PEM is no path, and base64 of it has no BEGIN.
    if BEGIN in text:
        return _tidy(text, "is")
    raw = decode_any_base64(text)
    if raw is not None and BEGIN in read_text(raw):
        return _tidy(raw, "is base64 of what is")
    return _from_file(text)


def pem_file(value: str | SecretStr) -> str:
    """The path that a `*_pem` key names; empty where it holds the PEM itself."""
    text = read_text(
        value.get_secret_value() if isinstance(value, SecretStr) else value
    )
    if BEGIN in text:
        return ""
    raw = decode_any_base64(text)
    return "" if raw is not None and BEGIN in read_text(raw) else text


def _tidy(raw: bytes | str, what: str) -> bytes:
    pem = tidy_pem(raw)
    if not pem:
        raise PemError(f"{what} cut: its BEGIN line has no END line that fits")
    return pem.encode()


def _from_file(text: str) -> bytes:
    try:
        raw = Path(text).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise PemError(
            "is neither PEM text nor base64 of it, and cannot be read as a file "
            f"({reason})"
        ) from None
    if BEGIN not in read_text(raw):
        raise PemError("names a file that holds no PEM")
    return _tidy(raw, "names a file that is")
