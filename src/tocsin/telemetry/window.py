"""What was counted in the last while, as one flat table. Part of `telemetry`.

It must not know what a number means; nodes tell each other this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tocsin.telemetry.series import Series


class MetricsWindow:
    """How much counters rose in the last interval, and gauges as they are.

    `turn` ends an interval. Keys are names and labels joined with dots; a sum or a
    count that did not rise is left out, and so are the buckets of histograms.
    """

    def __init__(self, read: Callable[[], Iterable[Series]]) -> None:
        self._read = read
        self._totals: dict[str, float] = {}
        self._items: Mapping[str, float] = {}
        self.turn()

    @property
    def items(self) -> Mapping[str, float]:
        """The table of the last whole interval; at first, since the start."""
        return self._items

    def turn(self) -> None:
        """Take the next table."""
        items: dict[str, float] = {}
        totals: dict[str, float] = {}
        for series in self._read():
            for suffix, names, labels, value in series.samples():
                if suffix == "_bucket":
                    continue
                pairs = zip(names, labels, strict=True)
                parts = [part for name, text in pairs if text for part in (name, text)]
                key = ".".join([series.name, *([suffix[1:]] if suffix else []), *parts])
                if series.type == "gauge":
                    items[key] = value
                    continue
                totals[key] = value
                if risen := value - self._totals.get(key, 0.0):
                    items[key] = risen
        self._totals, self._items = totals, items
