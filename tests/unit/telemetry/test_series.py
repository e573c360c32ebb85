from collections.abc import Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tocsin.telemetry.series import (
    Counter,
    Gauge,
    Histogram,
    Series,
    Summary,
    format_value,
    render,
)


def text_of(series: Series, prefix: str = "") -> str:
    return "".join(render(series, prefix))


def lines(text: str) -> Iterable[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_counter_adds_up_by_labels() -> None:
    """Each combination of labels has a value of its own."""
    counter = Counter("n", "Help.", ["a", "b"])
    counter.add(1, "x", "y")
    counter.add(2.5, "x", "y")
    counter.add(1, "x", "z")
    assert counter.get("x", "y") == 3.5
    assert counter.get("never", "seen") == 0
    assert lines(text_of(counter)) == ['n{a="x",b="y"} 3.5', 'n{a="x",b="z"} 1']


def test_a_series_without_labels_starts_at_zero() -> None:
    """It is exposed before anything happened, so that a rate can be taken."""
    assert text_of(Counter("n", "Help.")) == "# HELP n Help.\n# TYPE n counter\nn 0\n"


def test_a_gauge_is_set_and_moved() -> None:
    """A gauge goes up and down."""
    gauge = Gauge("n", "Help.", ["a"])
    gauge.set(5, "x")
    gauge.add(-2, "x")
    assert gauge.get("x") == 3


@pytest.mark.parametrize(
    "series",
    [
        Counter("n", "", ["a", "b"]),
        Gauge("n", "", ["a", "b"]),
        Summary("n", "", ["a", "b"]),
        Histogram("n", "", ["a", "b"], bounds=[1]),
    ],
)
def test_a_wrong_number_of_labels_is_refused(series: Series) -> None:
    """A slip in a call fails there, not in a dashboard."""
    change = getattr(series, "add", None) or getattr(series, "observe", None)
    assert change is not None
    with pytest.raises(ValueError, match="takes labels"):
        change(1, "only one")
    assert not list(series.samples())


def test_a_summary_has_sum_and_count() -> None:
    """The two lines from which an average is made."""
    summary = Summary("n", "Help.", ["a"])
    summary.observe(0.5, "x")
    summary.observe(1, "x")
    assert lines(text_of(summary)) == ['n_sum{a="x"} 1.5', 'n_count{a="x"} 2']


def test_buckets_are_cumulative_and_include_their_bound() -> None:
    """A value on a bound belongs below it, and +Inf holds everything."""
    histogram = Histogram("n", "Help.", bounds=[0.1, 1])
    for value in (0.1, 0.5, 1, 7):
        histogram.observe(value)
    assert lines(text_of(histogram)) == [
        'n_bucket{le="0.1"} 1',
        'n_bucket{le="1"} 3',
        'n_bucket{le="+Inf"} 4',
        "n_sum 8.6",
        "n_count 4",
    ]


NASTY = 'a"b\\c\nd é \udcff'


def test_labels_and_help_are_escaped() -> None:
    """Quotes, backslashes, line ends and broken text survive the parser."""
    counter = Counter("n", "Back\\slash\nand line.", ["a"])
    counter.add(1, NASTY)
    text = text_of(counter, "p_")
    assert len(text.splitlines()) == 3
    (family,) = text_string_to_metric_families(text)
    assert family.documentation == "Back\\slash\nand line."
    (sample,) = family.samples
    # This parser calls every counter `_total`; the text does not.
    assert (sample.name, "\np_n{" in text) == ("p_n_total", True)
    assert sample.labels == {"a": NASTY.replace("\udcff", "?")}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (0.25, "0.25"),
        (1e300, "1e+300"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_are_written_as_the_format_wants(value: float, text: str) -> None:
    """Whole numbers without a point, the special ones by their names."""
    assert format_value(value) == text
