"""YAML with a refusal of doubled names. Part of `config`; it must not know any key."""

from __future__ import annotations

from typing import Any

import yaml


class _UniqueLoader(yaml.SafeLoader):
    """The safe loader; a name that stands twice is an error, not the last one."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                name = (key.tag, key.value)
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, "a name is there twice", key.start_mark
                    )
                seen.add(name)
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"


def parse_yaml(text: str) -> Any:
    """The document's value; raises `ValueError` with the position of a fault."""
    try:
        return yaml.load(text, Loader=_UniqueLoader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the file, which may hold a secret.
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{error.problem or 'not YAML'}{where}") from None
    except (yaml.YAMLError, KeyError, AttributeError, RecursionError):
        # Also for a tag such as !!bool or !!timestamp before what is none.
        raise ValueError("not YAML") from None
