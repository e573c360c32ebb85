"""The exposition in OpenMetrics 1.0, which can point to traces. Part of `telemetry`.

Names stay as they are in the text format, so that no dashboard breaks: OpenMetrics
wants `_total` behind a counter, so one without it is exposed as of an unknown type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.telemetry.series import Histogram, Series, format_value

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END = "# EOF\n"
_TOTAL = "_total"


def is_asked_for(accept: str) -> bool:
    """Whether an `Accept` asks for it, and not for less than the text format."""
    qualities = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        if name in qualities:
            qualities[name] = max(qualities[name], _quality(parameters))
    wanted = qualities["application/openmetrics-text"]
    return wanted > 0 and wanted >= qualities["text/plain"]


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def render_open_metrics(series: Series, prefix: str) -> Iterator[str]:
    """Lines of one metric; after all of them comes `END`."""
    family, type = prefix + series.name, series.type
    suffix = ""
    if type == "counter":
        if family.endswith(_TOTAL):
            family, suffix = family.removesuffix(_TOTAL), _TOTAL
        else:
            type = "unknown"
    help_text = _escape(series.help)
    yield f"# HELP {family} {help_text}\n"
    yield f"# TYPE {family} {type}\n"
    marks = series.exemplars() if isinstance(series, Histogram) else {}
    for own, names, values, value in series.samples():
        labels = dict(zip(names, values, strict=True))
        if "le" in labels and own == "_bucket":
            labels["le"] = _canonical(labels["le"])
        pairs = ",".join(f'{name}="{_escape(text)}"' for name, text in labels.items())
        braces = f"{{{pairs}}}" if pairs else ""
        mark = marks.get(tuple(values), "") if own == "_bucket" else ""
        yield f"{family}{own or suffix}{braces} {format_value(value)}{mark}\n"


def _canonical(bound: str) -> str:
    return bound if "." in bound or "Inf" in bound or "e" in bound else f"{bound}.0"


def _escape(value: str) -> str:
    text = str(value).encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
