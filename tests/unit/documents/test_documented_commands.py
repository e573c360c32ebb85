"""Every command line that documents, examples or deployments give is understood."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tocsin.cli.main import VERBS, build_parser

ROOT = Path(__file__).parents[3]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "examples").rglob("*.*")),
]
_LINE = re.compile(rf"\btocsin ((?:{'|'.join(VERBS)})(?![\w-])[^`\n\"]*)(?=[`\n\"])")
_NAMED = {"queue replay", *VERBS}
"""What prose may name without its arguments."""


def written() -> Iterator[tuple[str, str]]:
    """Where it stands, and the line after `tocsin`."""
    for page in PAGES:
        for line in _LINE.findall(page.read_text(encoding="utf-8")):
            command = re.split(r"\s#|\s&|\s\||[;)]", line)[0].strip()
            if command not in _NAMED:
                yield str(page.relative_to(ROOT)), command


def deployed() -> Iterator[tuple[str, str]]:
    """What containers are started with."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    for words in re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE):
        yield "deploy/Dockerfile", shlex.join(json.loads(words))
    for path in (ROOT / "deploy").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            for words in commands(document):
                yield str(path.relative_to(ROOT)), shlex.join(words)


def commands(node: object) -> Iterator[list[str]]:
    """Lists under `command` or `args` that begin with a verb."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("command", "args") and isinstance(value, list) and value:
                words = [str(word) for word in value]
                words = words[1:] if words[0] == "tocsin" else words
                if words and words[0] in VERBS:
                    yield words
            yield from commands(value)
    elif isinstance(node, list):
        for item in node:
            yield from commands(item)


LINES = sorted({*written(), *deployed()})


def test_they_are_found() -> None:
    """A pattern that matches nothing would make the other test idle."""
    places = {place for place, _ in LINES}
    assert {"README.md", "docs/howto/run-it-at-night.md"} <= places
    assert {"deploy/Dockerfile", "deploy/compose.yaml"} <= places
    assert "deploy/kubernetes/tocsin.yaml" in places
    assert len(LINES) > 15


@pytest.mark.parametrize(("place", "line"), LINES)
def test_it_is_understood(place: str, line: str) -> None:
    """Verb, action and options are those of the command line."""
    assert build_parser().parse_args(shlex.split(line)).verb == line.split()[0]
