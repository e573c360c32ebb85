from __future__ import annotations

from tocsin.app.letter_watching import LetterMetrics
from tocsin.telemetry.metrics import Metrics


def test_a_kind_that_is_gone_is_told_as_none() -> None:
    """A number that nobody takes back would look like letters for ever."""
    metrics = Metrics()
    observer = LetterMetrics(metrics)
    observer.observe_letters({("fcm", "a"): 2, ("fcm", "b"): 1}, 60.0)
    observer.observe_letters({("fcm", "a"): 1}, 30.0)
    assert metrics.push_dead_letters_kept.get("fcm", "a") == 1
    assert metrics.push_dead_letters_kept.get("fcm", "b") == 0
    assert metrics.push_dead_letter_oldest_age.get() == 30.0


def test_what_is_forgotten_is_counted() -> None:
    """By provider and reason."""
    metrics = Metrics()
    LetterMetrics(metrics).observe_pruned(("fcm", "a"), 3)
    assert metrics.push_dead_letters_pruned.get("fcm", "a") == 3
