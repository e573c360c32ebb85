import sys
from pathlib import Path

import pytest

from tocsin.telemetry.reference import render

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


@pytest.mark.skipif(
    sys.platform != "linux", reason="the page shows what a process tells on Linux"
)
def test_the_committed_page_is_the_generated_one() -> None:
    """After a change of a metric: python -m tocsin.telemetry.reference > the page."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_metrics_stand_with_labels_and_prefix() -> None:
    """A row says name, type, labels; the process's own metrics have no prefix."""
    page = render()
    assert (
        "| `centrifugo_push_queue_consuming_lag` | gauge | `provider`, `queue` |"
        in (page)
    )
    assert "| `process_cpu_seconds_total` | counter |" in page
    assert "| `centrifugo_push_job_duration_seconds_histogram` | 0.005, 0.025," in page
