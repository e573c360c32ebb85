from pathlib import Path

from tocsin.app.error_reference import render
from tocsin.core.errors import ERRORS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"


def test_the_committed_page_is_the_generated_one() -> None:
    """After a change of an error: python -m tocsin.app.error_reference > the page."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_error_of_the_api_has_a_row() -> None:
    """Codes stand with both statuses of transport error mode."""
    page = render()
    for error in ERRORS:
        assert f"| {error.code} | {error.text} |" in page
    assert "| 108 | not available | yes | RESOURCE_EXHAUSTED | 429 |" in page


def test_results_stand_with_verdict_and_provider() -> None:
    """Words of answer tables, of single outcomes and of requests without an answer."""
    page = render()
    assert "| `unregistered` | unregistered |" in page
    assert "| `not_subscribed` | rejected | one-signal, pushpad |" in page
    assert "| `timeout` | retry | all" in page
