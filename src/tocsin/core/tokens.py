"""What tokens of push services are: their one spelling, to compare and store them.

One phone must be one device however its app printed the token. What cannot be the
token of its provider is refused by name; no error repeats the text. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import unquote

from tocsin.core.endpoints import EndpointRules

_PLAIN = re.compile(r"[A-Za-z0-9_:.-]+", re.ASCII)
"""Nearly all tokens that services make look like this, and need no unwrapping."""
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
_QUOTES = "\"'`\u201c\u201d\u2018\u2019"
_OPTIONAL = re.compile(r"Optional\((.*)\)", re.DOTALL)
# Possessive (`*+`), and nothing optional around the bytes: a text of spaces takes no
# longer than any other.
_NSDATA = re.compile(
    r"\{\s*+length\s*+=\s*+([0-9]{1,6})\s*+,\s*+bytes\s*+=(.*)\}",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{2,}={1,2}", re.ASCII)
_ALL_HEX = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
_SEPARATORS = re.compile(r"[\s:,_-]+")
_COUNT_OF_BYTES = re.compile(r"[0-9]+ bytes", re.ASCII)
_LEAST_BASE64_BYTES = 32
_MOST_LAYERS = 32
"""Each layer reads the whole text: thousands of them would take seconds."""
_NO_TOKEN = frozenset(
    {"null", "(null)", "<null>", "nil", "none", "undefined", "nan", "false", "true"}
    | {"blacklisted", "[object object]", "service_not_available"}
)
"""What programs write (in any case) where they have no token. Stored, it would make one
device of all those phones."""


class Tokens:
    """Rules for the tokens of one push service: their spelling, and whose they are.

    This class alone takes tokens as they are, such as names of users or the operator's
    own targets. `normalise` gives the spelling under which a token is stored and
    compared, and raises ValueError with what is wrong; `is_marked` recognises a token
    of this service by a mark that others do not have.
    """

    length_factor = 1
    """A token may be this many times `limits.token_length`."""
    has_keys = False
    """Whether the registry keeps keys beside a token, which a target carries."""

    def __init__(
        self,
        normalise: Callable[[str], str] = str,
        is_marked: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.normalise = normalise
        self.is_marked = is_marked

    def comparable(self, text: str) -> str:
        """As `normalise`, for look-ups: what is no token stays as it is."""
        try:
            return self.normalise(text)
        except ValueError:
            return text

    def register(self, text: str, rules: EndpointRules) -> tuple[str, str]:  # noqa: ARG002 - as the subclass has it
        """Token and keys of a device that brings this text; raises ValueError."""
        return self.normalise(text), ""

    def read_target(self, text: str, rules: EndpointRules) -> str:  # noqa: ARG002 - as the subclass has it
        """The target of a send to this text; raises ValueError."""
        return self.normalise(text)

    def selected(self, text: str) -> str:
        """The token that a selector means by this text."""
        return text

    def make_target(self, token: str, keys: str) -> str:  # noqa: ARG002 - as the subclass has it
        """The target of a send to a device with this token and these keys."""
        return token

    def stored(self, target: str) -> str:
        """What the registry keeps as the token of a device that a send went to."""
        return target

    def origin(self, target: str) -> str:  # noqa: ARG002 - as the subclass has it
        """The origin that answers for a target, where there are several; else ""."""
        return ""


def read_hex_token(text: str) -> str:
    """A token of bytes as lower-case hex, from any description that apps print."""
    return text if _HEX.fullmatch(text) else _read_hex(_unwrap(text))


def read_opaque_token(text: str) -> str:
    """A token that only its service can read, without what apps print around it."""
    return _read_opaque(text if _PLAIN.fullmatch(text) else _unwrap(text))


def _unwrap(text: str) -> str:
    """The text without quotes, `Optional(…)` and the like, in any nesting."""
    # Until nothing changes: wrappings are nested, such as quotes around `Optional(…)`.
    for _ in range(_MOST_LAYERS):
        before, text = text, _unwrap_once(text)
        if not text:
            raise ValueError("must not be empty")
        if before == text:
            return text
    raise ValueError("is quoted or escaped again and again: send the token itself")


def _unwrap_once(text: str) -> str:
    text = _trim(text)
    if "%" in text:
        text = _trim(unquote(text))
    if match := _OPTIONAL.fullmatch(text):
        return match[1]
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        return text[1:-1]
    return text


def _trim(text: str) -> str:
    return text.strip().strip(_INVISIBLE).strip()


def _read_opaque(text: str) -> str:
    if len(text) < 32 and text.lower() in _NO_TOKEN:
        raise ValueError(
            "is a program's word for no token: register the device once it has one"
        )
    if any(char.isspace() or char in _INVISIBLE for char in text):
        raise ValueError("must not contain spaces or line breaks")
    return text


def _read_hex(text: str) -> str:
    """Bytes as lower-case hex out of whatever describes them."""
    length = None
    # What iOS prints for a Data value: `{length = 32, bytes = 0x… }`.
    if match := _NSDATA.fullmatch(text):
        length, text = int(match[1]), match[2].strip()
    if "..." in text or "\u2026" in text:
        raise ValueError(
            "is an abbreviated description, in which bytes are missing: send all of"
            " them as hex"
        )
    if _COUNT_OF_BYTES.fullmatch(text):
        raise ValueError(
            "is the description of a Data value, which has none of its bytes: send"
            " them as hex"
        )
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if (decoded := _read_base64(text)) is not None:
        return decoded
    groups = [each for each in _SEPARATORS.split(text.replace("\\x", " 0x")) if each]
    digits = ""
    for group in groups:
        plain = group[2:] if group[:2] in {"0x", "0X"} else group
        if plain != group and len(plain) % 2:
            raise ValueError("has bytes of one hex digit: write each with two")
        digits += plain
    if not _ALL_HEX.fullmatch(digits):
        raise ValueError(_whose(text))
    if len(digits) % 2:
        raise ValueError("has an odd number of hex digits, so that some are missing")
    if length is not None and len(digits) != 2 * length:
        raise ValueError("has not as many bytes as its description says")
    return digits.lower()


def _read_base64(text: str) -> str | None:
    if not _BASE64.fullmatch(text):
        return None
    plain = text.replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain, validate=True)
    except binascii.Error:
        return None
    # Apple's tokens have 32 bytes or more: anything shorter is something else.
    return data.hex() if len(data) >= _LEAST_BASE64_BYTES else None


def _whose(text: str) -> str:
    # Imported here: the declarations of services import this module.
    from tocsin.core.push_services import SERVICES

    for service in SERVICES.values():
        if service.tokens.is_marked(text):
            return (
                f"is a token of {service.title}: register it with provider"
                f" {service.name}"
            )
    return "must be the bytes of the device token as hex"
