"""docs/reference/results.md knows every code that an event can have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tocsin.app.error_reference import render
from tocsin.core.breaker import BODY_REFUSED, BREAKER_OPEN
from tocsin.core.outcome import Verdict
from tocsin.core.results import OUTCOMES
from tocsin.delivery import result_log
from tocsin.delivery.limits import NO_TIMEZONE, RATE_LIMITED
from tocsin.delivery.reports import EXPIRED, ONLINE
from tocsin.providers import google_token, http1, pump

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
KINDS = {
    "DELIVERED": "sent",
    "UNREGISTERED": "gone",
    "SUSPECT": "guarded",
    "RETRY": "again",
    "REJECTED": "refused",
    "MISCONFIGURED": "set-up",
}
WORKER = {EXPIRED, ONLINE, RATE_LIMITED, NO_TIMEZONE, BODY_REFUSED, BREAKER_OPEN}


def _table() -> dict[str, set[str]]:
    codes = PAGE.partition("| code | kind |")[2]
    rows = re.findall(
        r"^\| `([a-z_]+)` \| ([a-z, -]+) \| \S.* \|$", codes, re.MULTILINE
    )
    return {code: set(kinds.split(", ")) for code, kinds in rows}


def _written() -> Iterator[tuple[str, str]]:
    """Code and kind of each pair of a verdict and a word in the source."""
    for room in ("providers", "delivery"):
        for path in (ROOT / "src" / "tocsin" / room).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                values: list[ast.expr] = []
                if isinstance(node, ast.Call):
                    values = node.args
                elif isinstance(node, ast.Tuple):
                    values = node.elts
                match values:
                    case [
                        ast.Attribute(value=ast.Name(id="Verdict"), attr=verdict),
                        ast.Constant(value=str(code)),
                        *_,
                    ]:
                        yield code, KINDS[verdict]


def test_every_code_of_an_adapter_stands_there() -> None:
    """With its kinds; and none that no adapter has."""
    table = _table()
    found: dict[str, set[str]] = {}
    for code, kind in _written():
        found.setdefault(code, set()).add(kind)
    for code in google_token._REFUSALS:
        found.setdefault(code, set()).add("set-up")
    for code in pump._FAILURE_CODES.values():
        found.setdefault(code, set()).add("again")
    for _, code, _ in http1._FOREIGN:
        found.setdefault(code, set()).add("again")
    told = {code: kinds for code, kinds in table.items() if kinds != {"worker"}}
    assert told == found
    assert KINDS.keys() == {verdict.name for verdict in Verdict}


def test_every_code_of_the_worker_stands_there() -> None:
    """Those of dead letters too, whatever words their reasons have."""
    told = {code for code, kinds in _table().items() if kinds == {"worker"}}
    reasons = {
        *("no_integration", "no_database", "other"),
        *result_log._REASONS.values(),
    }
    assert told == WORKER | reasons


def test_it_knows_the_codes_of_the_page_of_errors() -> None:
    """Two pages with the same words; that one says from which provider they come."""
    codes = render().partition("| code | verdict | from |")[2]
    assert (
        set(re.findall(r"^\| `([a-z_]+)` \|", codes, re.MULTILINE)) <= _table().keys()
    )


def test_every_outcome_is_explained() -> None:
    """In words of its own."""
    for outcome in OUTCOMES:
        assert f"`{outcome}`" in PAGE
