"""From namespaces as people write them to options: old names, unbuilt ones, variables.

Part of `config`. It must not look into values beyond telling an object from the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tocsin.config import names
from tocsin.config.channel import NAMESPACE_NAME, Namespace
from tocsin.config.faults import ConfigFault
from tocsin.config.showing import show_name

PATH = "channel.namespaces"
_TEMPLATE = "channel.without_namespace"

Items = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class UnbuiltOption:
    """An option of a namespace that is published and not built here.

    `path` is that of `channel.without_namespace`, `place` names the namespace, and
    `written` is the name under which it was given.
    """

    path: str
    place: str
    written: str
    value: Any


@dataclass(slots=True)
class TakenNamespaces:
    """What could be read."""

    items: Items = field(default_factory=list)
    unbuilt: list[UnbuiltOption] = field(default_factory=list)
    faults: list[ConfigFault] = field(default_factory=list)


def take_namespaces(value: object, source: str) -> TakenNamespaces:
    """Read a list of objects, its JSON text, or names with blanks between."""
    taken = TakenNamespaces()
    given = _parse(value)
    if given is None:
        fault = "must be a list of objects with a name"
        taken.faults.append(ConfigFault(PATH, fault, source))
        return taken
    for number, item in enumerate(given):
        name = item.get("name")
        if not isinstance(name, str) or not re.fullmatch(NAMESPACE_NAME, name):
            words = "must have a name of at least two letters, digits, - _ or ."
            taken.faults.append(ConfigFault(f"{PATH}[{number}]", words, source))
        else:
            taken.items.append(_take_item(taken, name, item, source))
    return taken


@dataclass(frozen=True, slots=True)
class NamespaceVariable:
    """A variable that may belong to an option of a namespace.

    `rest` follows the name of the list. `is_ours`: an unknown one is a fault.
    """

    rest: str
    text: str
    variable: str
    is_ours: bool


@dataclass(slots=True)
class AppliedVariables:
    """Namespaces with their variables; `unknown` belong to none of them."""

    items: Items
    unbuilt: list[UnbuiltOption] = field(default_factory=list)
    unknown: list[NamespaceVariable] = field(default_factory=list)


def apply_variables(
    items: Sequence[Mapping[str, Any]], variables: Sequence[NamespaceVariable]
) -> AppliedVariables:
    """Set options by `<NAME>_<OPTION>`; a later variable wins over an earlier one."""
    applied = AppliedVariables([dict(item) for item in items])
    for variable in variables:
        found = list(_find_options(applied.items, variable.rest))
        if not found:
            applied.unknown.append(variable)
        for item, option in found:
            if option in Namespace.model_fields:
                item[option] = variable.text
            else:
                applied.unbuilt.append(
                    _unbuilt(item["name"], option, variable.variable, variable.text)
                )
    return applied


def _find_options(items: Items, rest: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The options that a variable means, with their namespaces.

    The longest name that fits counts, since one name may begin with another. Several
    namespaces may have it: `a.b` and `a_b` are the same in a variable.
    """
    chosen = ""
    for item in sorted(items, key=lambda each: -len(each["name"])):
        prefix = names.env_name(item["name"]) + "_"
        if not rest.startswith(prefix) or chosen not in ("", prefix):
            continue
        for option in _options().get(rest.removeprefix(prefix), ()):
            chosen = prefix
            yield item, option


@cache
def _options() -> dict[str, tuple[str, ...]]:
    """Every option by its name in a variable; built ones come first."""
    start = f"{_TEMPLATE}."
    published = sorted(path for path in names.published() if path.startswith(start))
    every = [name for name in Namespace.model_fields if name != "name"]
    every += [path.removeprefix(start) for path in published]
    out: dict[str, tuple[str, ...]] = {}
    for option in dict.fromkeys(every):
        name = names.env_name(option)
        out[name] = (*out.get(name, ()), option)
    return out


def _parse(value: object) -> list[Mapping[str, Any]] | None:
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return [{"name": name} for name in value.split()]
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list | tuple):
        return None
    if not all(isinstance(item, Mapping) for item in value):
        return None
    return list(value)


def _take_item(
    taken: TakenNamespaces, name: str, item: Mapping[str, Any], source: str
) -> dict[str, Any]:
    options: dict[str, Any] = {"name": name}
    for written, value in _flatten(item):
        if written == "name" or value is None:
            continue
        option = _current_name(written)
        where = f"{PATH}[{name}].{written}"
        if option in Namespace.model_fields:
            options[option] = value
        elif f"{_TEMPLATE}.{option}" in names.published():
            taken.unbuilt.append(_unbuilt(name, option, where, value))
        else:
            taken.faults.append(
                ConfigFault(show_name(where), _describe(written), source)
            )
    return options


def _describe(option: str) -> str:
    if now := names.retired().get(option):
        return f"is a name of older releases; it is now {now}"
    near = names.nearest(option, list(Namespace.model_fields))
    return f"is not known; did you mean {near}?" if near else "is not known"


def _unbuilt(name: str, option: str, written: str, value: Any) -> UnbuiltOption:
    place = f"{PATH}[{name}].{option}"
    return UnbuiltOption(f"{_TEMPLATE}.{option}", place, written, value)


def _flatten(item: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in item.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _current_name(option: str) -> str:
    """Today's name; old flat names of the options without namespace count here, too."""
    new = names.renamed().get(option, "")
    start = f"{_TEMPLATE}."
    return new.removeprefix(start) if new.startswith(start) else option
