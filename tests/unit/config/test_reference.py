from pathlib import Path

from tocsin.config.reference import render
from tocsin.config.root import built

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_the_committed_page_is_the_generated_one() -> None:
    """After a change of a key: python -m tocsin.config.reference > the page."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_key_has_a_row() -> None:
    """No key is left out of the page."""
    page = render()
    for key in built():
        assert f"| `{key}` |" in page
