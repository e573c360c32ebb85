"""Reads a configuration file: JSON, YAML or TOML. Part of `config`.

It must not know any key, and quotes nothing of the file in an error but positions.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tocsin.config.faults import ConfigError, ConfigFault
from tocsin.config.showing import scrub_quoted, show_name, show_path

Parse = Callable[[str], Any]


def read_file(path: str) -> Mapping[Any, Any]:
    """The root object of the file; raises `ConfigError` with one fault.

    The extension decides on the format; with an unknown one the content does.
    """
    try:
        # With or without a byte order mark, which editors add.
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _fault(path, "is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise _fault(path, f"cannot be read: {reason}") from None
    parse = _BY_SUFFIX.get(Path(path).suffix.lower(), _parse_any)
    try:
        root = parse(text)
    except _Doubled as error:
        raise _fault(path, f"cannot be parsed: {error}") from None
    except RecursionError:
        raise _fault(path, "is nested too deeply") from None
    except ValueError as error:
        told = scrub_quoted(str(error))[:200]
        raise _fault(path, f"cannot be parsed: {told}") from None
    if root is None:
        return {}
    if not isinstance(root, Mapping):
        raise _fault(path, "must hold an object at its root")
    return root


class _Doubled(ValueError):
    """A name that is there twice in one object."""

    def __init__(self, name: str) -> None:
        shown = show_name(name)
        quoted = shown if shown.startswith('"') else f'"{shown}"'
        super().__init__(f"the name {quoted} is there twice")


def _fault(path: str, message: str) -> ConfigError:
    return ConfigError([ConfigFault(show_path(path), message)])


def _parse_json(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{error.msg} at line {error.lineno}, column {error.colno}"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise _Doubled(key)
        out[key] = value
    return out


def _parse_toml(text: str) -> Any:
    return tomllib.loads(text)


def _parse_yaml(text: str) -> Any:
    # Imported here, so that JSON users do not pay for it at every start.
    from tocsin.config.yaml_files import parse_yaml

    return parse_yaml(text)


def _parse_any(text: str) -> Any:
    # YAML last: it reads nearly any text as something.
    for parse in (_parse_json, _parse_toml):
        try:
            return parse(text)
        except ValueError:
            continue
    return _parse_yaml(text)


_BY_SUFFIX: dict[str, Parse] = {
    ".json": _parse_json,
    ".toml": _parse_toml,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}
