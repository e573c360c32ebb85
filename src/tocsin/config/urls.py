"""Takes URLs apart without ever repeating one. Part of `config`.

It must not resolve or call any of them. The standard library's own errors quote the
host with user and password, so whoever reads a configured URL does it here.
"""

from __future__ import annotations

from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

MASK = "***"


ESCAPES = "write / ? # @ and % in a password as %2F %3F %23 %40 and %25"


def split_url(text: str, form: str) -> SplitResult:
    """The parts of a URL; raises `ValueError` with words that quote nothing.

    `form` shows what is wanted. A port that is none is found here too: reading it
    later cannot fail.
    """
    if not text.isprintable() or " " in text:
        raise ValueError(f"must be a URL such as {form}, without a blank")
    try:
        parts = urlsplit(text)
        # The property raises for a port that is none.
        _ = parts.port
    except ValueError:
        raise ValueError(f"must be a URL such as {form}; {ESCAPES}") from None
    return parts


def decode(text: str) -> str:
    """A part with its escapes decoded; raises `ValueError` if that is no UTF-8.

    A % that begins no escape stands for itself.
    """
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError(
            "holds an escape that is no UTF-8: write % itself as %25"
        ) from None


def mask_user_info(netloc: str) -> str:
    """`user:***@host`, of what stands between the slashes of a URL."""
    before, at, host = netloc.rpartition("@")
    if not at:
        return host
    user, colon, _ = before.partition(":")
    return f"{user}:{MASK}@{host}" if colon else f"{MASK}@{host}"


def mask_url(text: str) -> str:
    """The scheme and the host of a URL: path and query may be secrets too."""
    try:
        parts = split_url(text.strip(), "")
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if not parts.scheme or not parts.hostname:
        return hide_after_scheme(text)
    more = "/…" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{parts.scheme}://{mask_user_info(parts.netloc)}{more}"


def hide_after_scheme(text: str) -> str:
    """What is left where the structure of an address cannot be told."""
    scheme, found, _ = text.partition("://")
    is_scheme = found and len(scheme) <= 20 and scheme.replace("+", "").isalnum()
    return f"{scheme}://…" if is_scheme else "…"
