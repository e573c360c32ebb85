"""Joins file, environment and flags into one `Config`. Part of `config`.

It must not act on the result, and reports every fault at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from tocsin.config import names
from tocsin.config import namespace_items as namespaces
from tocsin.config.checks import find_contradictions
from tocsin.config.faults import ConfigError, ConfigFault
from tocsin.config.fields import parse_bool
from tocsin.config.files import read_file
from tocsin.config.placeholders import find_placeholder, is_example
from tocsin.config.resolving import Level, Setting
from tocsin.config.root import Config, built
from tocsin.config.showing import show_name, show_path, show_value
from tocsin.core.push_services import SERVICES

OWN_PREFIX = "TOCSIN_"
PUBLISHED_PREFIX = "CENTRIFUGO_"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and how it came about.

    `warnings` are for the log at start. `source` is the file, or `None`.
    `is_default` says that neither a file nor the environment gave anything.
    `origins` tells for each key that was set where it was.
    """

    config: Config
    warnings: list[str]
    source: str | None
    is_default: bool
    origins: dict[str, str]


def load_config(
    path: str | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> LoadedConfig:
    """Flags (`overrides`, by dotted key) over environment over file over defaults.

    A value of `None` in `overrides` is no value. Raises `ConfigError` with every
    fault. With neither a file nor a variable the database is `tocsin.db`.
    """
    try:
        return _load(path, environ, overrides)
    except RecursionError:
        source = "environment" if path is None else show_path(path)
        raise ConfigError([ConfigFault(source, "is nested too deeply")]) from None


def _load(
    path: str | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None,
) -> LoadedConfig:
    levels = [_read_file(path), *_read_environment(environ), _read_flags(overrides)]
    faults = [fault for level in levels for fault in level.faults]
    settings: dict[str, Setting] = {}
    unbuilt: dict[str, Setting] = {}
    for level in levels:
        settings |= level.settings
        unbuilt |= level.unbuilt
    warnings = [text for level in levels for text in level.warnings]
    _apply_variables(levels, settings, unbuilt, faults, warnings)
    # `levels[1:3]` are the variables: flags alone still count as no configuration.
    is_default = path is None and not any(
        level.settings or level.unbuilt or level.faults for level in levels[1:3]
    )
    if is_default and "database.enabled" not in settings:
        key = "database.enabled"
        settings[key] = Setting(key, True, "no configuration given", key)
    config = _build(settings, faults)
    faults += _find_ignored_guards(unbuilt)
    if faults:
        raise ConfigError(_ordered(faults))
    return LoadedConfig(
        config=config,
        warnings=[
            *warnings,
            *_describe_unbuilt(unbuilt),
            *_find_unfilled(settings),
        ],
        source=path,
        is_default=is_default,
        origins={key: setting.source for key, setting in settings.items()},
    )


def _read_file(path: str | None) -> Level:
    level = Level()
    if path is not None:
        try:
            level.take_tree(read_file(path), show_path(path))
        except ConfigError as error:
            level.faults.extend(error.faults)
        except RecursionError:  # YAML anchors can build an object inside itself
            level.faults.append(ConfigFault(show_path(path), "is nested too deeply"))
    return level


def _read_environment(environ: Mapping[str, str]) -> tuple[Level, Level]:
    published, ours = Level(), Level()
    published.take_environment(environ, PUBLISHED_PREFIX, ours=False)
    ours.take_environment(environ, OWN_PREFIX, ours=True)
    return published, ours


def _apply_variables(
    levels: list[Level],
    settings: dict[str, Setting],
    unbuilt: dict[str, Setting],
    faults: list[ConfigFault],
    warnings: list[str],
) -> None:
    """Options of namespaces from the environment, over whatever gave the list."""
    variables = [each for level in levels for each in level.namespace_variables]
    if not variables:
        return
    path = namespaces.PATH
    given = settings.get(path) or Setting(path, [], "environment", path)
    applied = namespaces.apply_variables(given.value, variables)
    settings[path] = replace(given, value=applied.items)
    for each in applied.unbuilt:
        setting = Setting(each.path, each.value, each.written, each.written)
        unbuilt[each.place] = setting
    for unknown in applied.unknown:
        words = "belongs to no namespace and option"
        if unknown.is_ours:
            faults.append(ConfigFault(unknown.variable, words, "environment"))
        else:
            warnings.append(f"{unknown.variable} {words}, and has no effect")


def _read_flags(overrides: Mapping[str, object] | None) -> Level:
    level = Level()
    for key, value in (overrides or {}).items():
        name = f"--{show_name(key)}"
        level.take(key, value, name, written=name)
    return level


def _build(settings: dict[str, Setting], faults: list[ConfigFault]) -> Config:
    """The configuration from all sound values; the others become `faults`.

    A wrong value is left out and the rest is checked again, so that one run shows all
    faults. Contradictions that involve a wrong value are not shown.
    """
    sound = dict(settings)
    config: Config | None = None
    while config is None:
        try:
            config = Config.model_validate(_nest(sound))
        except ValidationError as error:
            for key, where, message in list(_explain(error, sound)):
                faults.append(ConfigFault(where, message, sound[key].source))
            # Each turn takes at least one key out, so the loop ends.
            for key in {_key_of(item["loc"]) for item in error.errors()}:
                del sound[key]
    bad = {fault.path.partition("[")[0] for fault in faults}
    for found in find_contradictions(config):
        if not any(_overlap(key, other) for key in bad for other in found.about):
            setting = settings.get(found.path.partition("[")[0])
            source = setting.source if setting is not None else ""
            faults.append(ConfigFault(found.path, found.message, source))
    return config


def _nest(settings: Mapping[str, Setting]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, setting in settings.items():
        *parents, last = key.split(".")
        node = root
        for name in parents:
            node = node.setdefault(name, {})
        value = setting.value
        if built()[key].kind == "duration" and isinstance(value, float):
            value = repr(value)  # a bare number in a file has no unit
        node[last] = value
    return root


def _explain(
    error: ValidationError, settings: Mapping[str, Setting]
) -> Iterator[tuple[str, str, str]]:
    """Of each fault the key, the place in its value and the text; one per place."""
    seen: set[str] = set()
    for item in error.errors(include_url=False):
        key = _key_of(item["loc"])
        inside = item["loc"][key.count(".") + 1 :]
        value = settings[key].value
        where = key
        if inside and isinstance(inside[0], int):
            where = _place(key, inside, value)
            value = item["input"]
        if where not in seen:
            seen.add(where)
            yield key, where, _words(item, key, value)


def _place(key: str, inside: tuple[int | str, ...], value: Any) -> str:
    """`channel.namespaces[chat].history_ttl`: items are called by their names."""
    number, *rest = inside
    name = number
    if isinstance(value, list) and isinstance(item := value[int(number)], Mapping):
        name = item.get("name", item.get("identifier", number))
        if rest and rest[0] == item.get("provider"):
            del rest[0]  # says which kind of item it was taken for
    return ".".join(
        [f"{key}[{show_name(str(name))}]", *(show_name(str(part)) for part in rest)]
    )


def _key_of(loc: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in loc]
    # The longest first: what follows the key lies inside its value.
    for length in range(len(parts), 0, -1):
        if (key := ".".join(parts[:length])) in built():
            return key
    raise LookupError(f"no key at {loc}")


def _words(item: Any, key: str, value: object) -> str:
    context = item.get("ctx", {})
    match item["type"]:
        case "value_error":
            text = str(context["error"])
        case "greater_than_equal":
            text = f"must be at least {context['ge']:g}"
        case "less_than_equal":
            text = f"must be at most {context['le']}"
        case "greater_than":
            text = f"must be more than {context['gt']:g}"
        case "literal_error":
            text = f"must be {context['expected']}"
        case "string_too_short":
            text = "must not be empty"
        case "string_too_long" | "too_long":
            text = f"must have at most {context['max_length']} characters"
        case "string_pattern_mismatch":
            text = f"must match {context['pattern']}"
        case "string_type" | "string_sub_type":
            text = "must be text"
        case "missing":
            text = "must be set"
        case "extra_forbidden":
            text = "is not known"
        case "union_tag_invalid" | "union_tag_not_found":
            text = f"must have a provider, one of {', '.join(SERVICES)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            text = "must be an object"
        case _:
            text = str(item["msg"])
    leaf = built()[key]
    if leaf.names_file and item["type"] == "string_type":
        text += ", the path of a file and not what lies in it"
    if leaf.secret or leaf.holds_secret or leaf.names_file:
        return text
    shown = show_value(value)
    # The check of a key may have shown the value itself.
    is_told = item["type"] == "value_error" and shown in text
    return f"{text}, not {shown}" if shown and not is_told else text


def _find_ignored_guards(unbuilt: Mapping[str, Setting]) -> Iterator[ConfigFault]:
    for place, setting in unbuilt.items():
        if setting.path in names.GUARDED and not (
            _is_off(setting.value) or names.is_default(setting.path, setting.value)
        ):
            why = names.GUARDED[setting.path]
            yield ConfigFault(
                place, f"is not available in this release: {why}", setting.source
            )


def _is_off(value: object) -> bool:
    if isinstance(value, str) and value:
        try:
            return not parse_bool(value)
        except ValueError:
            return False
    return not value


_NOT_BUILT = "not built in this release, no effect"
_DEFAULTS_NAMED = 5


def _describe_unbuilt(unbuilt: Mapping[str, Setting]) -> Iterator[str]:
    """A line for each name, one for all of a namespace, one for all defaults."""
    by_namespace: dict[tuple[str, str], list[str]] = {}
    defaults: dict[str, list[str]] = {}
    for place in sorted(unbuilt):
        setting = unbuilt[place]
        key, source, written = setting.path, setting.source, setting.written
        namespace, _, option = place.partition("].")
        if names.is_default(key, setting.value):
            name = f"{written} ({place})" if source == written else written
            defaults.setdefault("" if source == written else source, []).append(name)
        elif option and source != written:
            by_namespace.setdefault((f"{namespace}]", source), []).append(
                written.removeprefix(f"{namespace}].")
            )
        else:
            yield _describe_name(place if option else key, setting)
    for (name, source), options in by_namespace.items():
        # A single option is written as a path, so that it can be searched for.
        place = f"{name}.{options[0]}" if len(options) == 1 else name
        more = f": {', '.join(options)}" if len(options) > 1 else ""
        yield f"{place}: {_NOT_BUILT}{more} [{source}]"
    for source, found in defaults.items():
        left = len(found) - _DEFAULTS_NAMED
        named = ", ".join(found[:_DEFAULTS_NAMED]) + (f" and {left} more" * (left > 0))
        yield f"{named}: {_NOT_BUILT}; at the default{source and f' [{source}]'}"


def _describe_name(place: str, setting: Setting) -> str:
    written, source = setting.written, setting.source
    name = place if written == place else f"{written} ({place})"
    shown = show_value(setting.value) if setting.path.endswith(".type") else ""
    instead = names.INSTEAD.get(setting.path, "")
    words = f"{shown} is {_NOT_BUILT}" if shown else _NOT_BUILT
    where = "" if source == written else f" [{source}]"
    return f"{name}: {words}{instead and f': {instead}'}{where}"


def _find_unfilled(settings: Mapping[str, Setting]) -> Iterator[str]:
    """Values of examples, and marks of templates where a value may look so."""
    for path, setting in settings.items():
        if not isinstance(setting.value, str):
            continue
        if built()[path].secret and is_example(setting.value):
            # A warning, not a fault: people try examples as they stand.
            yield (
                f"{path} has the value of an example, which everybody knows: fine for"
                " a try on your own machine, else set one of your own"
            )
        elif find_placeholder(setting.value) == "${…}":
            yield f"{path} holds a placeholder that nothing has filled in (${{…}})"


def _overlap(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _ordered(faults: list[ConfigFault]) -> list[ConfigFault]:
    return list(dict.fromkeys(faults))
