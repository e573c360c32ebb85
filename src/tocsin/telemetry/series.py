"""Counters, gauges and histograms as plain dicts. Part of `telemetry`.

It must not know what is measured, and must stay cheap: `add` runs per result. Use
it from the event loop's thread only; updates are not locked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence

Labels = tuple[str, ...]
Sample = tuple[str, Sequence[str], Labels, float]
"""Suffix of the name, label names, label values, value."""


class Series(ABC):
    """One metric: its name without prefix, help text and label names."""

    type: str = "untyped"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """What is exposed now."""

    def _checked(self, labels: Labels) -> Labels:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} takes labels {self.labels}, not {labels}")
        return labels


class Value(Series):
    """A number per combination of labels."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, count: float, *labels: str) -> None:
        """Add to the value of these labels."""
        values = self._values
        if labels in values:
            values[labels] += count
        else:
            values[self._checked(labels)] = count

    def get(self, *labels: str) -> float:
        """The value now; 0 for labels never seen."""
        return self._values.get(labels, 0)

    def samples(self) -> Iterator[Sample]:
        """One line per combination of labels."""
        for labels, value in self._values.items():
            yield "", self.labels, labels, value


class Counter(Value):
    """Only rises."""

    type = "counter"


class Gauge(Value):
    """Rises and falls."""

    type = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Replace the value of these labels."""
        self._values[self._checked(labels)] = value


class Summary(Series):
    """Sum and count; no quantiles, the histogram beside it has the shape."""

    type = "summary"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._sums: dict[Labels, list[float]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Take one value in."""
        entry = self._sums.get(labels)
        if entry is None:
            entry = self._sums[self._checked(labels)] = [0.0, 0]
        entry[0] += value
        entry[1] += 1

    def samples(self) -> Iterator[Sample]:
        """`_sum` and `_count` per combination of labels."""
        for labels, (total, count) in self._sums.items():
            yield "_sum", self.labels, labels, total
            yield "_count", self.labels, labels, count


class Histogram(Series):
    """Counts per bucket; `bounds` are inclusive upper limits, rising."""

    type = "histogram"

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float],
    ) -> None:
        super().__init__(name, help, labels)
        self.bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        self._marks: dict[tuple[Labels, int], tuple[str, float, float]] = {}

    def mark(self, value: float, at_s: float, trace: str, *labels: str) -> None:
        """Remember a trace for the bucket of a value that was observed.

        `trace` is text for an exemplar's braces, `at_s` Unix seconds.
        """
        place = bisect_left(self.bounds, value)
        self._marks[labels, place] = (trace, value, at_s)

    def exemplars(self) -> dict[Labels, str]:
        """What OpenMetrics has behind a bucket, by the bucket's labels."""
        return {
            (
                *labels,
                self._le(place),
            ): f" # {{{trace}}} {format_value(value)} {at_s:.3f}"
            for (labels, place), (trace, value, at_s) in self._marks.items()
        }

    def _le(self, place: int) -> str:
        return format_value(self.bounds[place]) if place < len(self.bounds) else "+Inf"

    def observe(self, value: float, *labels: str) -> None:
        """Take one value in."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[self._checked(labels)] = [0] * (len(self.bounds) + 1)
            self._sums[labels] = 0.0
        # Left: a value that equals a bound belongs below it.
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[labels] += value

    def samples(self) -> Iterator[Sample]:
        """Cumulative `_bucket`, then `_sum` and `_count`."""
        names = (*self.labels, "le")
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*self.bounds, None), counts, strict=True):
                total += count
                le = "+Inf" if bound is None else format_value(bound)
                yield "_bucket", names, (*labels, le), total
            yield "_sum", self.labels, labels, self._sums[labels]
            yield "_count", self.labels, labels, total


def format_value(value: float) -> str:
    """A number as the text exposition format writes it."""
    number = float(value)
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "+Inf" if number > 0 else "-Inf"
    # Above 2**53 floats skip integers, and a plain integer would look exact.
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return repr(number)


def render(series: Series, prefix: str) -> Iterator[str]:
    """Lines of one metric in the text exposition format 0.0.4.

    Names are written exactly as given: no `_total` and no `_created` appear.
    """
    name = prefix + series.name
    help_text = series.help.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {name} {help_text}\n"
    yield f"# TYPE {name} {series.type}\n"
    for suffix, names, values, value in series.samples():
        pairs = ",".join(
            f'{label}="{_escape(text)}"'
            for label, text in zip(names, values, strict=True)
        )
        braces = f"{{{pairs}}}" if pairs else ""
        yield f"{name}{suffix}{braces} {format_value(value)}\n"


def _escape(value: str) -> str:
    text = str(value).encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
