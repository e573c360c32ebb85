"""What phones and browsers say about their language, as language tags. Pure.

Android writes Java's form (`zh_TW_#Hant`), Apple ICU's (`en_US@calendar=japanese`),
Linux POSIX's (`de_DE.UTF-8@euro`), browsers BCP 47 or a whole Accept-Language, and
lists are written as `[de_DE, en_US]` too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LENGTH = 64
"""Of a longer tag only language, script and region are kept."""
_LONGEST_INPUT = 1024

_TAG = re.compile(
    r"(?:[A-Za-z]{2,3}|[XxIi](?=[-_]))(?:[-_][A-Za-z0-9]{1,8})*", re.ASCII
)
_SEPARATOR = re.compile(r"[-_]+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}", re.ASCII)
_SCRIPT = re.compile(r"[A-Za-z]{4}", re.ASCII)
_REGION = re.compile(r"[A-Za-z]{2}|[0-9]{3}", re.ASCII)
_NO_LANGUAGE = frozenset({"und", "mul", "zxx", "mis", "nil", "nan"})
"""Codes that mean no language, and what programs write where they know none.

`nan` is a language (Min Nan) too, but phones call that `zh`.
"""
_SCRIPT_OF_MODIFIER = {"latin": "Latn", "cyrillic": "Cyrl", "devanagari": "Deva"}
_OTHER_NAME = {
    "iw": "he",
    "he": "iw",
    "in": "id",
    "id": "in",
    "ji": "yi",
    "yi": "ji",
    "no": "nb",
    "nb": "no",
    "tl": "fil",
    "fil": "tl",
    "mo": "ro",
}
"""Java and old Android keep codes that ISO 639 has replaced."""


def usable_locale(text: str) -> str:
    """The language tag in what a device calls its language; empty where there is none.

    A well-formed tag stays as it was written, even with `_` for `-`. Of anything else
    language, script and region are kept: `zh_TW_#Hant` is `zh-Hant-TW`.
    """
    if len(text) > _LONGEST_INPUT:
        return ""
    text = text.strip().strip("\"'[]").strip()
    # Browsers send a list with the most wanted language first. Brackets hold Apple's
    # description: `en_US (current)`.
    text = re.split(r"[,;(]", text, maxsplit=1)[0].strip()
    if _is_private(text):
        return text if len(text) <= MAX_LENGTH else ""
    language = _SEPARATOR.split(text, maxsplit=1)[0].lower()
    if language in _NO_LANGUAGE:
        return ""
    if _TAG.fullmatch(text) and len(text) <= MAX_LENGTH:
        return text
    return _parse(text)


def lookup_tags(locale: str) -> Iterator[str]:
    """Tags to look for texts under, in lower case with `-`, the best one first.

    The tag, then shorter and shorter ones. Where a script stands between language and
    region, the two without it come before the language alone. Last comes another code
    for the same language.
    """
    tag = locale.lower().replace("_", "-")
    parts = tag.split("-")
    while len(parts) > 1:
        yield "-".join(parts)
        parts.pop()
    language = parts[0]
    if not language:
        return
    script = _SEPARATOR.split(tag)[1:2]
    region = _SEPARATOR.split(tag)[2:3]
    if script and region and _SCRIPT.fullmatch(script[0]):
        yield f"{language}-{region[0]}"
    yield language
    if language in _OTHER_NAME:
        other = _OTHER_NAME[language]
        if region or script:
            yield other + tag.removeprefix(language)
        yield other


def _is_private(text: str) -> bool:
    return text[:2].lower() in {"x-", "x_", "i-", "i_"} and bool(_TAG.fullmatch(text))


def _parse(text: str) -> str:
    # POSIX: `de_DE.UTF-8@euro`; a modifier may name the script (`sr_RS@latin`).
    text, _, modifier = text.partition("@")
    text = text.partition(".")[0]
    before, hash_sign, after = text.partition("#")
    language, *rest = _SEPARATOR.split(before.strip())
    if not _LANGUAGE.fullmatch(language):
        return ""
    # Java puts the script behind the hash, and extensions behind the script.
    tail = _SEPARATOR.split(after) if hash_sign else []
    script = region = ""
    for part in rest:
        if len(part) == 1:
            break  # extensions begin
        if not script and not region and _SCRIPT.fullmatch(part):
            script = part
        elif not region and _REGION.fullmatch(part):
            region = part
    if tail and _SCRIPT.fullmatch(tail[0]):
        script = tail[0]
    script = script or _SCRIPT_OF_MODIFIER.get(modifier.lower(), "")
    parts = (language.lower(), script.capitalize(), region.upper())
    return "-".join(part for part in parts if part)
