r"""Reads a Google service account file as people really have it.

With a byte order mark, quoted, in base64, or with `\\n` as two characters in its
private key: all of these are accepted. Any other file of Google's is named in the
error, with what to download instead. No value of the file may stand in an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tocsin.config.pasted import (
    BEGIN,
    decode_any_base64,
    find_labels,
    pick_pem,
    read_text,
)

DOWNLOAD = (
    "download one in the Firebase console, Project settings > Service accounts >"
    " Generate new private key"
)
_WANTED = ("project_id", "client_email", "private_key", "token_uri")
_OTHER_TYPES: Mapping[str, str] = {
    "authorized_user": "is a person's own login, as gcloud makes it,",
    "external_account": "describes a workload identity federation,",
    "external_account_authorized_user": "describes a workforce identity federation,",
    "impersonated_service_account": "impersonates a service account and has no key,",
    "gdch_service_account": "is of Google Distributed Cloud,",
}
"""Values of `type` in Google's other credential files, and what to call those."""
_OTHER_FILES: Mapping[str, str] = {
    "project_info": "is google-services.json, which belongs into the Android app,",
    "authDomain": "is the configuration of the web app,",
    "apiKey": "is the configuration of the web app,",
    "web": "is the client of an OAuth login,",
    "installed": "is the client of an OAuth login,",
    "keys": "is a set of public keys,",
}
"""Fields that only files of another kind have."""


class NoAccount(ValueError):
    """No usable account; the text continues a sentence that begins with the file."""


def read_account(content: bytes) -> dict[str, Any]:
    """The fields of an account file, its private key tidy.

    Raises `NoAccount`.
    """
    text = read_text(content)
    if not text:
        raise NoAccount("is empty")
    info = _parse(text)
    if info is None:
        raise NoAccount(_why_no_json(text))
    if not isinstance(info, dict):
        raise NoAccount(f"is no service account file; {DOWNLOAD}")
    _refuse_others(info)
    info = {name: _strip(value) for name, value in info.items()}
    missing = [name for name in _WANTED if not isinstance(info.get(name), str)]
    missing = missing or [name for name in _WANTED if not info[name]]
    if missing:
        raise NoAccount(f"lacks {', '.join(missing)}; {DOWNLOAD}")
    info["private_key"] = _tidy_key(info["private_key"])
    return info


def _parse(text: str) -> Any:
    """The value in JSON, in JSON inside a JSON string, or in base64 of either.

    `None` where there is none. `strict=False` lets raw line ends stand in strings.
    """
    for candidate in (text, read_text(decode_any_base64(text) or b"")):
        try:
            found = json.loads(candidate, strict=False)
            if isinstance(found, str):
                found = json.loads(found, strict=False)
        except (ValueError, RecursionError):
            continue
        return found
    # The whole of it with its quotes escaped, as from inside another JSON text.
    try:
        return json.loads(
            text.replace('\\"', '"').replace("\\\\n", "\\n"), strict=False
        )
    except (ValueError, RecursionError):
        return None


def _why_no_json(text: str) -> str:
    if text.startswith("<"):
        if "<plist" in text:
            return (
                f"is GoogleService-Info.plist, which belongs into the app; {DOWNLOAD}"
            )
        return f"is a page, not JSON; {DOWNLOAD}"
    if BEGIN in text:
        return f"is a key in PEM; wanted is the whole JSON file: {DOWNLOAD}"
    if text.startswith("{"):
        return f"is not JSON; if it was edited or cut, {DOWNLOAD}"
    return f"is not JSON; {DOWNLOAD}"


def _refuse_others(info: Mapping[str, Any]) -> None:
    kind = info.get("type")
    what = _OTHER_TYPES.get(kind) if isinstance(kind, str) else None
    if what is None and "private_key" not in info:
        what = next((said for name, said in _OTHER_FILES.items() if name in info), None)
    if what is not None:
        raise NoAccount(f"{what} not a service account with a key; {DOWNLOAD}")


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _tidy_key(text: str) -> str:
    pem = pick_pem(text, "PRIVATE KEY")
    if pem:
        return pem
    if "…" in text or "..." in text:
        raise NoAccount(f"has a private_key that was cut out; {DOWNLOAD}")
    if find_labels(text):
        raise NoAccount(f"has a private_key that holds no private key; {DOWNLOAD}")
    if BEGIN in text:
        raise NoAccount(f"has a private_key that is cut; {DOWNLOAD}")
    raise NoAccount(f"has a private_key that is no PEM; {DOWNLOAD}")
