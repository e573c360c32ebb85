"""Decides how much of a configured value a message may show. Part of `config`.

It must not know any key. A value is often not what its key expects, such as a
credential in place of its path. So a message shows only what can be nothing but a
name, a number or a path; of anything else it shows the first four characters.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

SHOWN = 4
"""Characters of a hidden text that are shown at most."""

_LONGEST_NAME = 200
_LONGEST_PATH = 400
_LONGEST_PART = 255  # bytes, of nearly every file system
_PLAIN = re.compile(
    r"(?:[A-Za-z]?[a-z]{0,20}|[A-Z]{1,20}|[a-z]{1,20}[A-Z][a-z]{1,20})"
    r"(?:[-_ ][A-Za-z]?[a-z]{0,20}|[-_ ][A-Z]{1,20})?"
)
_SECRET = re.compile(r"pass|secret|pwd", re.IGNORECASE)
_QUANTITY = re.compile(r"[-+]?[0-9]{1,12}(?:\.[0-9]{1,6})?[a-zA-Zµ%]{0,3}")
_NAME = re.compile(r"[\w.$\[\]-]+")
_HOST = re.compile(r"\[?[A-Za-z0-9_.:*%-]{0,253}\]?")
_RUN = re.compile(r"[A-Za-z0-9+=]+")
_PATH = re.compile(r"(?:[A-Za-z]:)?[\w./\\~+@ ()%-]+")
_ROOT = re.compile(r"/|\.{1,2}/|~/|[A-Za-z]:[\\/]")
_FILE = re.compile(
    r"\.(?:json|p8|p12|pfx|pem|crt|cer|cert|key|der|jks|ca|chain|bundle|db3?|sqlite3?"
    r"|ya?ml|toml|m?js|txt|conf|cfg|sock)$",
    re.IGNORECASE,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{40,}")
_WORDS = re.compile(r"\b(?:password|passwd|secret|token|apikey)\s*=", re.IGNORECASE)
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_PEM = re.compile(r"-----BEGIN .*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_USER_INFO = re.compile(r"(?<=://)[^\s\"'<>]*@")
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{20,}")


def hide(text: str) -> str:
    """At most the first four characters, quoted, and how long the text is."""
    shown = json.dumps(text[:SHOWN], ensure_ascii=True)
    if len(text) <= SHOWN:
        return shown
    return f'{shown[:-1]}…" ({len(text)} characters)'


def show_path(path: str | Path) -> str:
    """A path as it is, if it is credible as one; anything else is hidden.

    A path is credible when it leads to something, or has a root or the ending of a
    kind of file and no part that looks random.
    """
    text = str(path)
    if _may_be_path(text) and (_is_there(text) or _is_credible(text)):
        return text
    return hide(text)


def show_name(name: str) -> str:
    """The name of a key or of a thing; one that looks random is hidden."""
    if len(name) <= SHOWN and name.isprintable():
        return name
    is_name = len(name) <= _LONGEST_NAME and _NAME.fullmatch(name)
    if is_name and not any(map(_is_random, re.split(r"[^A-Za-z0-9]+", name))):
        return name
    return hide(name)


def show_word(text: str) -> str:
    """A name made of one plain word or two, as options are; anything else is hidden."""
    return text if _is_plain(text) else hide(text)


def show_host(text: str) -> str:
    """A host, an address or a pattern of them, with a port or without."""
    if _HOST.fullmatch(text) and not any(map(_is_random, re.split(r"[^\w]", text))):
        return text
    return hide(text)


def show_value(value: object) -> str:
    """A wrong value for the end of a message; empty for one that is no scalar."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**12 else "a number that long"
    if isinstance(value, float):
        return f"{value:.12g}" if math.isfinite(value) else str(value)
    if not isinstance(value, str):
        return ""
    if not value or _is_plain(value) or _QUANTITY.fullmatch(value):
        return json.dumps(value)
    return hide(value)


def looks_like_credential(text: str) -> bool:
    """Whether a text that should be a path is rather the content of the file.

    JSON, PEM, an address with a scheme, `password=…`, base64, several lines, or more
    than any path has.
    """
    text = text.strip()
    return (
        not text.isprintable()
        or "-----BEGIN" in text
        or "://" in text
        or text.startswith(("{", "[", '"'))
        or _WORDS.search(text) is not None
        or len(text) > _LONGEST_PATH * 10
        or any(
            len(part.encode(errors="replace")) > _LONGEST_PART
            for part in text.split("/")
        )
        or (_is_base64(text) and not _is_credible(text))
        or not (_ROOT.match(text) or _FILE.search(text) or not _has_random(text))
    )


def _is_plain(text: str) -> bool:
    """Whether a text is one or two plain words: three may be a passphrase."""
    return _PLAIN.fullmatch(text) is not None and not _SECRET.search(text)


def _is_base64(text: str) -> bool:
    # Words joined by - and _ are names, unless capitals and digits are mixed in.
    if _BASE64.fullmatch(text) is None:
        return False
    # A slash is base64, too. What begins like a path is one, unless a part of it is as
    # long and as mixed as a key.
    if _ROOT.match(text):
        parts = text.split("/")
        return any(len(part) >= 40 and _kinds_of(part) == 3 for part in parts)
    kinds = _kinds_of(text)
    return kinds == 3 or (kinds == 2 and not {"-", "_"} & set(text))


def scrub_quoted(text: str) -> str:
    """A parser's message without what it quotes of a file, except short signs."""

    def replace(match: re.Match[str]) -> str:
        inner = match[0][1:-1]
        if len(inner) <= 2 or (inner.startswith("<") and inner.endswith(">")):
            return match[0]
        return hide(inner) if len(inner) > SHOWN else match[0]

    return _QUOTED.sub(replace, text)


def scrub_text(text: str) -> str:
    """A foreign error's text without credentials that it may quote.

    PEM, what stands before the @ of an address, and runs that look random go.
    """
    text = _PEM.sub("-----BEGIN…", text)
    if "://" in text:
        text = _USER_INFO.sub("***@", text)

    def replace(match: re.Match[str]) -> str:
        run = match[0]
        return f"{run[:SHOWN]}…" if any(map(_is_random, _RUN.findall(run))) else run

    return _LONG_RUN.sub(replace, text)


def _may_be_path(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_PATH and text.isprintable()


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _is_credible(text: str) -> bool:
    if not _PATH.fullmatch(text) or not (_ROOT.match(text) or _FILE.search(text)):
        return False
    return not _has_random(text)


def _has_random(text: str) -> bool:
    return any(map(_is_random, re.split(r"[^A-Za-z0-9+=]+", text)))


def _is_random(run: str) -> bool:
    """Whether letters and digits are mixed as in a key, at a length names lack."""
    size = len(run)
    if size < 16 or len(set(run)) < 8:  # no key has so few
        return False
    kinds = _kinds_of(run)
    # The more kinds of characters, the shorter a key may be.
    return size >= 40 or (size >= 24 and kinds >= 2) or (size >= 16 and kinds == 3)


def _kinds_of(text: str) -> int:
    """Of capitals, small letters and digits, how many occur."""
    tests = (str.isupper, str.islower, str.isdigit)
    return sum(any(test(c) for c in text) for test in tests)
