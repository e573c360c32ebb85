"""docs/howto/run-it-at-night.md against what the code says."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from tocsin.cli import main as cli
from tocsin.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "howto" / "run-it-at-night.md").read_text(encoding="utf-8")


def said_by_the_code() -> str:
    """Every text constant of the package."""
    texts = []
    for path in (ROOT / "src" / "tocsin").rglob("*.py"):
        if not path.stem.endswith(("_pb2", "_pb2_grpc")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    return "\n".join(texts)


def test_every_quoted_log_line_is_written_somewhere() -> None:
    """Somebody searches for these words at night."""
    said = said_by_the_code()
    quoted = re.findall(r"log `([^`]+)`", PAGE)
    assert len(quoted) > 8
    assert [words for words in quoted if words not in said] == []


def test_every_metric_of_the_page_exists() -> None:
    """Under the name that stands there."""
    names = {series.name for series in Metrics().all_series()}
    used = set(re.findall(r"`(push_\w+)`", PAGE)) - {"push_id"}
    assert used
    assert used <= names


COMMANDS = re.findall(r"^tocsin (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_is_understood(line: str) -> None:
    """Its verb and options are those of the command line."""
    parser: argparse.ArgumentParser = cli.build_parser()
    parsed = parser.parse_args(line.split())
    assert parsed.config == "config.json"
