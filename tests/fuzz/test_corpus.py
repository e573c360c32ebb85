from __future__ import annotations

import pytest
from tests.fuzz.corpus import CORPUS, read_corpus
from tests.fuzz.engine import examine
from tests.fuzz.target import Target
from tests.fuzz.targets.table import TARGETS


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_no_input_that_is_kept_breaks_a_rule(target: Target) -> None:
    """What was found once is never there again; what means something still passes."""
    kept = {str(path.name): data for path, data in read_corpus(target.name).items()}
    named = {f"example {n}": data for n, data in enumerate(target.examples())} | kept
    found = {name: examine(target, data) for name, data in named.items()}
    assert {name: one.error for name, one in found.items() if one} == {}
    assert named


def test_every_folder_of_the_corpus_has_a_target() -> None:
    """Whoever renames a target renames its corpus."""
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)


def test_the_corpus_is_small() -> None:
    """It is replayed by each run of the tests, and cloned by everybody."""
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < 1 << 20
    assert max(sizes) <= 1 << 14
