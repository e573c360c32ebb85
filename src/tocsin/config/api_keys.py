"""Named keys of the server API: who may call what, and how often. Part of `config`.

It must not know a door; it only says what was asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from tocsin.config.fields import (
    HeaderSecret,
    Holds,
    Kind,
    Secret,
    Section,
    Shown,
    Text,
    Texts,
    parse_objects,
)
from tocsin.config.showing import show_name
from tocsin.core.api_methods import (
    ADMIN_METHODS,
    ADMIN_PREFIX,
    API_METHODS,
    find_methods,
    snake_case,
)
from tocsin.core.rates import RateLimit

_RATE = re.compile(r"([0-9]{1,9})(?: ?(?:/|per) ?(s|sec|second|m|min|minute|h|hour))?")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
_MOST_CALLS = 1_000_000
_HEX = re.compile(r"[0-9a-f]{64}")
_OF_NOTHING = hashlib.sha256(b"").hexdigest()


def parse_rate(value: object) -> RateLimit | None:
    """`100`, `100/s`, `6000/m`, `1000/h`; as many calls may come at once."""
    if value is None or value == "":
        return None
    text = str(value).strip().lower() if isinstance(value, int | str) else ""
    match = _RATE.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError("must be calls per time, such as 100/s, 6000/m or 1000/h")
    calls, unit = int(match[1]), (match[2] or "s")[0]
    if not 1 <= calls <= _MOST_CALLS:
        raise ValueError(
            f"must be from 1 to {_MOST_CALLS} calls; without a limit leave it out"
        )
    return RateLimit(calls, _UNITS_MS[unit])


def show_rate(rate: RateLimit) -> str:
    """As it is written: `6000/m`."""
    units = {interval_ms: unit for unit, interval_ms in _UNITS_MS.items()}
    return f"{rate.rate}/{units[rate.interval_ms]}"


def _check_methods(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in value if not find_methods(name)]
    if unknown:
        raise ValueError("; ".join(map(_describe_unknown, unknown)))
    return value


def _describe_unknown(name: str) -> str:
    known = ADMIN_METHODS if name.startswith(ADMIN_PREFIX) else API_METHODS
    near = get_close_matches(snake_case(name[:100]), sorted(known), 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{show_name(name)} is no method{hint}"


def _check_digest(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip().lower()
    if text and not _HEX.fullmatch(text):
        raise ValueError(
            "must be the 64 hex digits of the key's SHA-256, as `tocsin gen-key` shows"
        )
    if text == _OF_NOTHING:
        raise ValueError("is the SHA-256 of an empty text, which is no key")
    return SecretStr(text)


class ApiKey(Section):
    """One of several keys of a door."""

    name: Annotated[Text, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]
    """who has it; stands in the log and in metrics, in place of the key"""
    key: HeaderSecret = SecretStr("")
    """the key itself"""
    key_sha256: Annotated[Secret, AfterValidator(_check_digest)] = SecretStr("")
    """or its SHA-256 in hex"""
    methods: Annotated[Texts, AfterValidator(_check_methods)] = ()
    """what it may call"""
    rate: Annotated[RateLimit | None, BeforeValidator(parse_rate)] = None
    """how often"""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        given = bool(self.key.get_secret_value()) + bool(
            self.key_sha256.get_secret_value()
        )
        if given != 1:
            raise ValueError("must have key or key_sha256, and not both")
        return self

    @property
    def digest(self) -> str:
        """The SHA-256 of the key, in hex."""
        return self.key_sha256.get_secret_value() or _digest(self.key)

    @property
    def allowed(self) -> frozenset[str]:
        """The methods that it may call."""
        if not self.methods:
            return API_METHODS
        return frozenset().union(*map(find_methods, self.methods))


ApiKeys = Annotated[
    tuple[ApiKey, ...],
    BeforeValidator(parse_objects),
    Kind("list"),
    Shown("[]"),
    Holds(),  # secrets in it: no message quotes a value
    Field(
        repr=False,
        description="further keys: name, key or key_sha256, methods"
        " (`device_*`; empty = all), rate (`100/s`, `6000/m`; empty = no limit)",
    ),
]


def find_key_faults(
    path: str, keys: tuple[ApiKey, ...], others: Mapping[str, SecretStr]
) -> Iterator[tuple[str, str]]:
    """Names and keys that are there twice: place and text.

    `path` is that of the list; `others` are further keys of the door, by their paths.
    """
    holders = {
        _digest(key): place for place, key in others.items() if key.get_secret_value()
    }
    counts = Counter(each.name for each in keys)
    for name, count in counts.items():
        if count > 1:
            yield f"{path}[{show_name(name)}]", f"is the name of {count} keys"
    for each in keys:
        place = f"{path}[{show_name(each.name)}]"
        other = holders.setdefault(each.digest, place)
        if other != place:
            yield place, f"is the same key as {other}; every name needs its own"


def _digest(key: SecretStr) -> str:
    raw = key.get_secret_value().encode("utf-8", "surrogateescape")
    return hashlib.sha256(raw).hexdigest()
