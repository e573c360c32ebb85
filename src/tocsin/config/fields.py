"""The kinds of value a key can have, and the base of every section. Part of `config`.

It must not know any key. Text is accepted for every kind, because environment
variables and flags only have text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic.fields import FieldInfo

from tocsin.config.durations import format_duration, parse_duration
from tocsin.config.placeholders import refuse_placeholder
from tocsin.config.showing import hide, looks_like_credential

_LONGEST_MARK = 200
_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


@dataclass(frozen=True, slots=True)
class Kind:
    """Names the kind of a field's value in messages and in the reference."""

    name: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The default as a person reads it, where the plain value does not say it."""

    default: str


class Holds:
    """Marks text that may carry a password inside (a dsn, a URL)."""


@dataclass(frozen=True, slots=True)
class NamesFile:
    """Marks text that is the path of a file, and refuses what lies in one instead.

    `advice` says what to do with such text.
    """

    advice: str = "put it into a file and name that file here"

    def check(self, value: str) -> str:
        """The path; raises `ValueError` that shows no more than its beginning."""
        value = value.strip("\r\n")  # left by a shell that read it from a file
        if len(value) <= _LONGEST_MARK:
            refuse_placeholder(value)
        if value and looks_like_credential(value):
            words = f"looks like the credential itself, {hide(value.strip())}"
            raise ValueError(f"{words}: {self.advice}")
        return value


def parse_bool(value: object) -> bool:
    """`true`/`false`, `1`/`0`, `t`/`f` in any case."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, str | int) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("must be true or false")


def parse_int(value: object) -> int:
    """A whole number, or the text of one; `true` is no number."""
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) < 2**63:
            return value
        raise ValueError("is out of range")
    if isinstance(value, str):
        text = value.strip()
        # The length bound keeps a hostile text from costing quadratic time.
        if len(text) <= 20 and text.isascii() and text.lstrip("+-").isdigit():
            try:
                return int(text)
            except ValueError:
                pass
    raise ValueError("must be a whole number")


def parse_number(value: object) -> float:
    """A finite number, or the text of one."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    # Integers may be too long for a float, and true is one to Python.
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 2**63
        and math.isfinite(value)
    ):
        return float(value)
    raise ValueError("must be a number")


def parse_texts(value: object) -> tuple[str, ...]:
    """A list of texts: a list, a JSON list in text, or text split at `,` and blanks."""
    if isinstance(value, str):
        if value.lstrip().startswith("[") and value.rstrip().endswith("]"):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise ValueError("must be a JSON list, or words") from None
        else:
            return tuple(value.replace(",", " ").split())
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(text for v in value if (text := v.strip()))
    raise ValueError("must be a list of texts")


def parse_objects(value: object) -> object:
    """A list of objects, or the JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON list of objects") from None
    if isinstance(value, list | tuple):
        return value
    raise ValueError("must be a list of objects")


_HALF = re.compile("[\ud800-\udfff]")
"""A surrogate on its own; in Python both halves of a pair are one character."""


def _as_text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("must be text: put it in quotes")  # noqa: TRY004 - pydantic collects ValueError only
    if isinstance(value, str) and _HALF.search(value):
        raise ValueError("holds half of a character (a lone surrogate)")
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


def _filled_in(value: SecretStr) -> SecretStr:
    refuse_placeholder(value.get_secret_value())
    return value


def _not_blank(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text and not text.strip():
        raise ValueError("is blank: whoever guesses that would be let in")
    return value


def _without_line_end(value: SecretStr) -> SecretStr:
    # No header can carry one: the end of a file's line would refuse every call.
    return SecretStr(value.get_secret_value().rstrip("\r\n"))


Bool = Annotated[bool, BeforeValidator(parse_bool), Kind("bool")]
Int = Annotated[int, BeforeValidator(parse_int), Kind("int")]
Number = Annotated[float, BeforeValidator(parse_number), Kind("number")]
Text = Annotated[
    str, BeforeValidator(_as_text), AfterValidator(_without_nul), Kind("string")
]
Secret = Annotated[
    SecretStr, BeforeValidator(_as_text), AfterValidator(_filled_in), Kind("string")
]
Guard = Annotated[Secret, AfterValidator(_not_blank)]
"""A secret that lets in whoever has it."""
HeaderSecret = Annotated[Guard, AfterValidator(_without_line_end)]
"""One that callers send as a header."""
Identity = Annotated[Text, AfterValidator(refuse_placeholder)]
"""An id or a public key that goes with a secret."""
AnyText = Annotated[str, BeforeValidator(_as_text), Kind("string")]
"""Text whose own check says more about what is wrong with it."""
_FILE = NamesFile()
FilePath = Annotated[AnyText, AfterValidator(_FILE.check), _FILE]
"""The path of a file; relative ones are looked up from the working folder."""
Texts = Annotated[tuple[str, ...], BeforeValidator(parse_texts), Kind("list")]
Duration = Annotated[float, BeforeValidator(parse_duration), Kind("duration")]
"""Seconds, as a float; written in a file as `30s`, `15m`, `1h30m`."""


class Section(BaseModel):
    """A part of the configuration: cannot be changed, takes no unknown key."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )


@dataclass(frozen=True, slots=True)
class Leaf:
    """One key: its dotted path, kind, default as text, secrecy."""

    path: str
    kind: str
    default: str
    secret: bool
    holds_secret: bool
    names_file: bool
    field: FieldInfo


def leaves(section: type[Section], prefix: str = "") -> Iterator[Leaf]:
    """Every key below a section, in the order of the source."""
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from leaves(kind, f"{path}.")
        else:
            yield _leaf(path, field)


def file_keys(section: type[Section]) -> Iterator[str]:
    """The keys of this section, not of those in it, that name a file."""
    for name, field in section.model_fields.items():
        if any(isinstance(mark, NamesFile) for mark in _marks(field)):
            yield name


def _leaf(path: str, field: FieldInfo) -> Leaf:
    marks = list(_marks(field))
    default = next((m.default for m in marks if isinstance(m, Shown)), None)
    if default is None:
        default = _show(field.get_default(call_default_factory=True), marks)
    return Leaf(
        path=path,
        # The outermost mark is the last: a field may narrow what its kind says.
        kind=[m.name for m in marks if isinstance(m, Kind)][-1],
        default=default,
        secret=SecretStr in (field.annotation, *get_args(field.annotation)),
        holds_secret=any(isinstance(m, Holds) for m in marks),
        names_file=any(isinstance(m, NamesFile) for m in marks),
        field=field,
    )


def _marks(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    for part in get_args(field.annotation):  # `Int | None` keeps its marks inside
        yield from getattr(part, "__metadata__", ())


def _show(value: object, marks: list[Any]) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and any(
        isinstance(m, Kind) and m.name == "duration" for m in marks
    ):
        return format_duration(value)
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value) or "[]"
    return "" if value is None else str(value)
