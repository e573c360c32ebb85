"""Push room: the rules for how often and at what hour devices may be reached.

Pure; when a push is held back because of them is the worker's business.
"""

from __future__ import annotations

import re

from tocsin.core.errors import BadRequest
from tocsin.core.push import RateRule, TimeWindow
from tocsin.core.rates import RateLimit
from tocsin.core.templates import Scope, Template, TemplateFault, parse_template
from tocsin.push import checks

_FIELD = "limit_strategy"
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])", re.ASCII)
_MAX_POLICIES = 10
_MAX_RATE = 1_000_000_000
_BARE_KEYS = ("device.id", "device.user")


def parse_window(after: str, before: str, *, no_tz_send_now: bool) -> TimeWindow:
    """The window between two texts `HH:MM:SS`, or `BadRequest` with the field."""
    field = f"{_FIELD}.time_limit"
    window = TimeWindow(
        _seconds(f"{field}.send_after_time", after),
        _seconds(f"{field}.send_before_time", before),
        no_tz_send_now,
    )
    if window.after_s == window.before_s:
        raise BadRequest(f"{field}.send_before_time", "must differ from its start")
    return window


def check_rate(rule: RateRule) -> RateRule:
    """The rule with its key as a template; every policy must let something pass."""
    field = f"{_FIELD}.rate_limit"
    if not rule.limits:
        raise BadRequest(f"{field}.policies", "must not be empty")
    if len(rule.limits) > _MAX_POLICIES:
        raise BadRequest(
            f"{field}.policies",
            f"must be at most {_MAX_POLICIES}, are {len(rule.limits)}",
        )
    for index, limit in enumerate(rule.limits):
        _check_policy(f"{field}.policies[{index}]", limit)
    key = rule.key.strip()
    if key.removeprefix(".") in _BARE_KEYS:
        key = f"{{{{.{key.removeprefix('.')}}}}}"
    checks.check_text(f"{field}.key", key, checks.NAME_LENGTH, required=False)
    parse_key(key)
    return RateRule(rule.limits, key, rule.drop)


def parse_key(key: str) -> Template:
    """The template of a bucket key; raises `BadRequest` with the place of a fault."""
    field = f"{_FIELD}.rate_limit.key"
    try:
        template = parse_template(key, Scope())
    except TemplateFault as fault:
        raise BadRequest(field, f"column {fault.column}: {fault.reason}") from None
    bare = "{{" not in key and any(name in key for name in _BARE_KEYS)
    if bare:
        # As plain text it would be one bucket for everybody.
        raise BadRequest(field, "write variables in a text as {{.device.user}}")
    return template


def _check_policy(field: str, limit: RateLimit) -> None:
    if not 1 <= limit.rate <= _MAX_RATE:
        raise BadRequest(f"{field}.rate", f"must be from 1 to {_MAX_RATE}")
    if limit.interval_ms < 1:
        raise BadRequest(f"{field}.interval_ms", "must be at least 1")


def _seconds(field: str, text: str) -> int:
    if not text:
        raise BadRequest(field, "must be set: a window has a start and an end")
    match = _TIME.fullmatch(text)
    if match is None:
        raise BadRequest(field, "must be HH:MM:SS, from 00:00:00 to 23:59:59")
    hours, minutes, seconds = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds
