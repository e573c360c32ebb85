"""deploy/grafana/tocsin.json against the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.process import process_series
from tocsin.telemetry.series import Histogram, Series, Summary

DASHBOARD = json.loads(
    (Path(__file__).parents[3] / "deploy" / "grafana" / "tocsin.json").read_text()
)
ADDED_BY_PROMETHEUS = {"job", "instance"}
_METRIC = re.compile(r"\b((?:centrifugo|process|python)_\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"by \(([^)]*)\)")
_LABEL = re.compile(r"(\w+)=~?\"")
_SHOWN = re.compile(r"\{\{(\w+)\}\}")


def known() -> dict[str, Series]:
    """Every name that may stand in a query, with what it belongs to."""
    metrics = Metrics()
    names: dict[str, Series] = {}
    own = [(metrics.prefix + series.name, series) for series in metrics.all_series()]
    for name, series in [*own, *((s.name, s) for s in process_series())]:
        if isinstance(series, Histogram):
            suffixes: tuple[str, ...] = ("_bucket", "_sum", "_count")
        elif isinstance(series, Summary):
            suffixes = ("_sum", "_count")
        else:
            suffixes = ("",)
        names |= {name + suffix: series for suffix in suffixes}
    return names


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def targets() -> Iterator[Any]:
    for panel in panels():
        for target in panel["targets"]:
            yield pytest.param(target, id=f"{panel['title']}-{target['refId']}")


@pytest.mark.parametrize("target", list(targets()))
def test_a_query_reads_what_exists(target: dict[str, str]) -> None:
    """Names are exposed ones, and every label that is used is one of theirs."""
    text = target["expr"]
    used = _METRIC.findall(text)
    assert used
    assert text.count("centrifugo_") + text.count("process_") == len(used)
    series = known()
    for name, matchers in used:
        assert name in series
        labels = {*series[name].labels, *ADDED_BY_PROMETHEUS, "le"}
        assert set(_LABEL.findall(matchers)) <= labels
        assert '=~"$job"' in matchers
        assert '=~"$instance"' in matchers
        groups = {
            g.strip() for found in _GROUPED.findall(text) for g in found.split(",")
        }
        assert groups <= labels
        assert set(_SHOWN.findall(target["legendFormat"])) <= groups


@pytest.mark.parametrize("target", list(targets()))
def test_brackets_of_a_query_match(target: dict[str, str]) -> None:
    """A typing error in a query shows as an empty panel only at night."""
    for opening, closing in ("()", "[]", "{}"):
        assert target["expr"].count(opening) == target["expr"].count(closing)


def test_every_push_metric_is_shown() -> None:
    """No metric of pushes, of analytics or of pools is left out of the picture."""
    text = json.dumps(DASHBOARD)
    for series in Metrics().all_series():
        family = series.name.removesuffix("_histogram")
        if family.startswith(
            ("push_", "clickhouse_", "database_pool_", "rate_", "api_")
        ):
            assert f"centrifugo_{family}" in text, series.name


def test_panels_fill_the_grid_without_overlap() -> None:
    """Grafana would move panels that lie on each other."""
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_data_source_is_chosen_by_the_reader() -> None:
    """The file works in any Grafana: no source of ours is named in it."""
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])
    assert {v["name"] for v in DASHBOARD["templating"]["list"]} == {
        "datasource",
        "job",
        "instance",
    }
