"""Push room: checks the options of a send: rate limits, time windows, templates.

Pure. They are read here so that the caller learns of faults at once; the worker reads
the templates again when it renders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tocsin.core.device import Detail
from tocsin.core.errors import BadRequest
from tocsin.core.json_strings import find_strings
from tocsin.core.push import Body, RateRule, SendRequest, Templating, TimeWindow
from tocsin.core.rates import RateLimit
from tocsin.core.templates import (
    Scope,
    Template,
    TemplateFault,
    is_template,
    parse_template,
)
from tocsin.push import checks
from tocsin.push.bodies import body_field

_FIELD = "limit_strategy"
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])", re.ASCII)
_MAX_POLICIES = 10
_MAX_RATE = 1_000_000_000
# The API names these as variables of a key without saying how they are written, so
# they are taken with braces and, as the whole key, without.
_BARE_KEYS = ("device.id", "device.user")

_MAX_ACTIONS = 1000
"""Most template actions in one body. With the limits of values it bounds the time and
memory of a rendering."""
_MAX_LANGUAGES = 500


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
    """The rule with its key as a template; each policy must let some pushes pass."""
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
        # Without braces it is plain text, which would be one bucket for everybody.
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


def check_templating(
    templating: Templating, bodies: Mapping[str, Body], texts_size: int
) -> None:
    """Check that bodies can be rendered, and localizations looked up.

    `texts_size` is the limit of all localizations together, in bytes. Raises
    `BadRequest` naming the field and, for a template, its place.
    """
    _check_localizations(templating.localizations, texts_size)
    for provider, body in bodies.items():
        read_body(provider, body, templating)


def needed_details(request: SendRequest) -> frozenset[Detail]:
    """The columns of a device that the walk has to read for this checked request."""
    needed: set[Detail] = set()
    if request.window is not None:
        needed.add(Detail.TIMEZONE)
    if request.rate is not None:
        needed |= parse_key(request.rate.key).uses
    if request.templating is not None:
        for provider, body in request.bodies.items():
            needed |= read_body(provider, body, request.templating)
    return frozenset(needed)


def read_body(provider: str, body: Body, templating: Templating) -> set[Detail]:
    """The columns of a device that a body's templates use.

    Raises `BadRequest` naming the field and the place of a fault.
    """
    field = body_field(provider)[1]
    scope = Scope(meta=templating.use_meta, l10n=bool(templating.localizations))
    uses: set[Detail] = set()
    actions = 0
    for string in find_strings(body.message):
        if not is_template(string.text):
            continue
        try:
            template = parse_template(string.text, scope)
        except TemplateFault as fault:
            at = f" at {string.path}" if string.path else ""
            reason = f"template{at}, column {fault.column}: {fault.reason}"
            raise BadRequest(field, reason) from None
        uses |= template.uses
        actions += template.actions
    if actions > _MAX_ACTIONS:
        reason = f"must have at most {_MAX_ACTIONS} template actions, has {actions}"
        raise BadRequest(field, reason)
    return uses


def _check_localizations(
    localizations: Mapping[str, Mapping[str, str]], size_limit: int
) -> None:
    field = "localizations"
    if len(localizations) > _MAX_LANGUAGES:
        raise BadRequest(
            field, f"must be at most {_MAX_LANGUAGES}, are {len(localizations)}"
        )
    seen: set[str] = set()
    size = 0
    for language, texts in localizations.items():
        path = checks.entry(field, language)
        if not language:
            raise BadRequest(field, "key must not be empty")
        checks.check_locale(path, language)
        tag = language.lower().replace("_", "-")
        if tag in seen:
            raise BadRequest(path, "is given twice, in two spellings")
        seen.add(tag)
        for name, text in texts.items():
            where = f"{path}.translations"
            checks.check_text(where, name, checks.NAME_LENGTH, what="key ")
            size += len(name) + len(text.encode())
    if size > size_limit:
        raise BadRequest(field, f"must be at most {size_limit} bytes long, has {size}")
