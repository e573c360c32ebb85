"""From names as people write them to keys: old, published, unknown. Part of `config`.

It must not look into values beyond telling an object from the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from tocsin.config import names
from tocsin.config import namespace_items as namespaces
from tocsin.config.faults import ConfigFault
from tocsin.config.fields import parse_int
from tocsin.config.root import built
from tocsin.config.showing import show_name

_SEE = "see docs/reference/configuration.md"
# What Kubernetes puts into every container for a service named like the prefix.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value for a key, and where and under which name it was written."""

    path: str
    value: Any
    source: str
    written: str


@dataclass(slots=True)
class Level:
    """Everything that one source says; a later level overrides it key by key.

    `unbuilt` are settings of keys that this release lacks, by place: each namespace
    has options of its own.
    """

    settings: dict[str, Setting] = field(default_factory=dict)
    unbuilt: dict[str, Setting] = field(default_factory=dict)
    faults: list[ConfigFault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    namespace_variables: list[namespaces.NamespaceVariable] = field(
        default_factory=list
    )

    def take_tree(self, tree: Mapping[Any, Any], source: str, prefix: str = "") -> None:
        """Take a nested object; a name may also be written with dots."""
        for name, value in tree.items():
            self.take(f"{prefix}{name}", value, source)

    def take(
        self, path: str, value: Any, source: str, *, written: str | None = None
    ) -> None:
        """Take one name, which may be a section, an old name, or unknown."""
        if value is None:
            return
        is_object = isinstance(value, Mapping)
        if path == namespaces.PATH:
            self._take_namespaces(value, source, written or path)
        elif path in built():
            self._keep(Setting(path, value, source, written or path))
        elif is_object and (path in _sections() or path in names.known_sections()):
            self.take_tree(value, source, f"{path}.")
        elif path in names.renamed():
            self._take_old(path, value, source, written or path)
        elif path in names.known():
            self.unbuilt[path] = Setting(path, value, source, written or path)
        elif path in names.retired():
            self._take_retired(path, source, written or path)
        elif path in _sections() or path in names.known_sections():
            self.faults.append(ConfigFault(path, _describe_section(path), source))
        else:
            self._unknown(path, source)

    def _take_old(self, old: str, value: Any, source: str, written: str) -> None:
        path = names.renamed()[old]
        if value and (switch := names.SWITCHED_ON_BY.get(old)):
            self.take(switch, True, source, written=written)
        # For a variable, `written` is its own name; it was warned about where
        # it was read.
        if path in built() and written == old:
            self.warnings.append(f"{old} is the old name of {path} [{source}]")
        if isinstance(value, Mapping):
            # A former switch that became an object: `tls: {"enabled": true}`.
            path = path.removesuffix(".enabled")
        if convert := names.IN_OTHER_UNITS.get(old):
            try:
                value = convert(parse_int(value))
            except ValueError as error:
                self.faults.append(ConfigFault(old, str(error), source))
                return
        self.take(path, value, source, written=written)

    def _take_retired(self, old: str, source: str, written: str) -> None:
        now = names.retired()[old]
        words = f"is a name of older releases; it is now {now}"
        if not now:
            words = "is a name of older releases, and has no effect"
        elif _is_built(now):
            self.faults.append(ConfigFault(written, words, source))
            return
        else:
            words += "; not built in this release, no effect"
        self.warnings.append(f"{written} {words} [{source}]")

    def _take_namespaces(self, value: Any, source: str, written: str) -> None:
        taken = namespaces.take_namespaces(value, source)
        self.faults += taken.faults
        for each in taken.unbuilt:
            setting = Setting(each.path, each.value, source, each.written)
            self.unbuilt[each.place] = setting
        self._keep(Setting(namespaces.PATH, taken.items, source, written))

    def _keep(self, setting: Setting) -> None:
        other = self.settings.get(setting.path)
        if other is not None and not _same(other, setting):
            self.faults.append(
                ConfigFault(
                    setting.path,
                    f"{other.written} and {setting.written} are set to different "
                    f"values; keep one",
                    setting.source,
                )
            )
        self.settings[setting.path] = setting

    def _unknown(self, path: str, source: str) -> None:
        others: tuple[Collection[str], ...] = (names.renamed(), names.known())
        # A nested name is more likely a published key, a plain one an old name.
        if "." in path:
            others = others[::-1]
        near = names.nearest(path, [*built(), *_sections()], *others)
        hint = f"did you mean {near}?" if near else _SEE
        self.faults.append(
            ConfigFault(show_name(path), f"is not known; {hint}", source)
        )

    def take_environment(
        self, environ: Mapping[str, str], prefix: str, *, ours: bool
    ) -> None:
        """Take the variables with that prefix; an empty value counts as unset."""
        table = _env_table(ours=ours)
        for variable, text in sorted(environ.items()):
            rest = variable.removeprefix(prefix)
            if rest == variable or not text or _is_foreign(rest, text):
                continue
            if text.lstrip().startswith("{") and rest in _env_sections():
                self._take_json(_env_sections()[rest], text, variable)
            elif (path := table.get(rest)) is not None:
                if path in names.renamed() and names.renamed()[path] in built():
                    new = prefix + names.env_name(names.renamed()[path])
                    if new != variable:
                        self.warnings.append(f"{variable} is the old name of {new}")
                self.take(path, text, variable, written=variable)
            elif (option := _namespace_option(rest)) is not None:
                self.namespace_variables.append(
                    namespaces.NamespaceVariable(option, text, variable, ours)
                )
            elif (path := _collection(rest)) is not None:
                self.unbuilt[path] = Setting(path, text, variable, variable)
            else:
                self._unknown_variable(variable, prefix, table, is_fault=ours)

    def _take_json(self, path: str, text: str, variable: str) -> None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            self.faults.append(ConfigFault(path, "is not a JSON object", variable))
            return
        self.take(path, value, variable)

    def _unknown_variable(
        self, variable: str, prefix: str, table: Mapping[str, str], *, is_fault: bool
    ) -> None:
        mine = [names.env_name(path) for path in built()]
        near = names.nearest(variable.removeprefix(prefix), mine, table)
        hint = f"did you mean {prefix}{near}?" if near else _SEE
        if is_fault:
            self.faults.append(
                ConfigFault(variable, f"is not known; {hint}", "environment")
            )
        else:
            self.warnings.append(f"{variable} is not known and has no effect; {hint}")


@cache
def _sections() -> frozenset[str]:
    return frozenset(names.sections_of(built()))


@cache
def _env_sections() -> dict[str, str]:
    return {names.env_name(path): path for path in sorted(_sections())}


@cache
def _env_table(*, ours: bool) -> dict[str, str]:
    """Variable without prefix → name; today's names win over old ones."""
    table = {names.env_name(path): path for path in names.retired()}
    table.update({names.env_name(path): path for path in names.renamed()})
    table.update({names.env_name(path): path for path in names.published()})
    if ours:
        table.update({names.env_name(path): path for path in names.planned()})
        table.update({names.env_name(path): path for path in built()})
    return table


def _describe_section(path: str) -> str:
    """The message for a section whose value is no object."""
    known = built().keys() | names.known()
    inside = [f"{path}.{name}" for name in ("type", "enabled", "address", "level")]
    hint = next((f"; did you mean {each}?" for each in inside if each in known), "")
    return f"must be an object{hint}"


def _is_built(words: str) -> bool:
    """Whether the first key in a hint is one of this release."""
    key = next((word.rstrip(",:") for word in words.split() if "_" in word), "")
    option = f"channel.without_namespace.{key}"
    return key in built() or option in built() or "engine.redis.address" in words


def _namespace_option(rest: str) -> str | None:
    prefix = names.env_name(namespaces.PATH) + "_"
    return rest.removeprefix(prefix) if rest.startswith(prefix) else None


def _collection(rest: str) -> str | None:
    for path in names.COLLECTIONS:
        if rest.startswith(names.env_name(path) + "_"):
            return path
    return None


def _is_foreign(rest: str, text: str) -> bool:
    """Whether a variable shares our prefix but is meant for something else."""
    if rest.startswith("VAR_"):  # the published server's values for header templates
        return True
    if _SERVICE_LINK.fullmatch(rest):
        return True
    return rest.endswith("PORT") and _LINK_VALUE.match(text) is not None


# Two names of one key may both be set, as long as they say the same.
def _same(one: Setting, other: Setting) -> bool:
    return bool(_read(one) == _read(other))


def _read(setting: Setting) -> Any:
    """The value as the key reads it: `"1"` and `true` are the same for a bool."""
    info = built()[setting.path].field
    kind: Any = Annotated.__class_getitem__((info.annotation, *info.metadata))  # type: ignore[attr-defined] # a type made at run time
    try:
        return TypeAdapter(kind).validate_python(setting.value)
    except ValidationError:
        return setting.value
