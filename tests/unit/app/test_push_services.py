"""Push services are named where they are declared, and in files of their own."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tocsin
from tocsin.core.push_services import SERVICES, PushService

ROOT = Path(tocsin.__file__).parent
WORDS = {word for each in SERVICES.values() for word in (each.name, each.section)}

DECLARED = "app/push_services.py"
ALSO = {
    "cli/demo.py": "a call to type in, as an example",
    "core/endpoints.py": "rules of Web Push, whose message names their key",
    "storage/migrations/versions/v0004_verdicts_and_tokens.py": "tokens as they were",
}
"""Other files that may name one, and why."""


def is_its_own(module: str) -> bool:
    """Whether it is an adapter, an imitation, a section, or rules, of one service."""
    room, _, file = module.partition("/")
    if room not in {"config", "core", "providers", "simulator"}:
        return False
    return any(
        file == f"{each.section}.py"
        or file.startswith((f"{each.section}_", *each.further_files))
        for each in SERVICES.values()
    )


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.endswith(("_pb2.py", "_pb2_grpc.py")):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def documentation(tree: ast.Module) -> set[ast.expr]:
    """The texts that are docstrings, of whatever they stand below."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


@functools.cache
def named() -> dict[str, list[tuple[int, str]]]:
    """Every module with the lines in which it names a service."""
    return {name: list(names_of(tree)) for name, tree in modules()}


def names_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and service of each place that names one."""
    told = documentation(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in told:
                # A host's name is no name of a service: fcm.googleapis.com.
                found = re.findall(r"[A-Za-z0-9_-]+", re.sub(r"https?://\S+", "", text))
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name):
                found = [name]
            case ast.ImportFrom(module=str(name), names=imported):
                found = [*name.split("."), *(each.name for each in imported)]
            case ast.keyword(arg=str(name)):
                found = [name]
            case _:
                continue
        yield from ((node.lineno, word) for word in found if word in WORDS)


def test_no_second_list_names_a_push_service() -> None:
    """Whoever needs one reads the table: a new service is one declaration."""
    second = [
        f"src/tocsin/{name}:{line} names {service}"
        for name, lines in named().items()
        if name not in {DECLARED, *ALSO} and not is_its_own(name)
        for line, service in lines
    ]
    assert not second, "\n".join(
        [f"read core/push_services.py, which {DECLARED} fills:", *second]
    )


def test_every_exception_is_needed() -> None:
    """A file that names none any more leaves the list."""
    assert all(named()[name] for name in ALSO)


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_declaration_is_whole(service: PushService) -> None:
    """Each has its section, its adapter's file and its imitation's."""
    assert service.settings().__name__.endswith("Section")
    for room in ("providers", "simulator"):
        assert (ROOT / room / f"{service.section}.py").is_file()
