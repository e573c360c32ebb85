"""Push room: reads the templates of a send, so that faults are told at once.

Nothing is rendered here; what was read is read again by the worker.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.core.device import Detail
from tocsin.core.errors import BadRequest
from tocsin.core.json_strings import find_strings
from tocsin.core.push import Body, SendRequest, Templating
from tocsin.core.templates import Scope, TemplateFault, is_template, parse_template
from tocsin.push import checks
from tocsin.push.bodies import body_field
from tocsin.push.limits import parse_key

_MAX_ACTIONS = 1000
"""Actions in one body: together with the sizes of values it bounds a rendering."""
_MAX_LANGUAGES = 500


def check_templating(
    templating: Templating, bodies: Mapping[str, Body], texts_size: int
) -> None:
    """Bodies that can be rendered, localizations that can be looked up.

    `texts_size` is bytes of all localizations together. Raises `BadRequest` naming
    the field and, for a template, its place.
    """
    _check_localizations(templating.localizations, texts_size)
    for provider, body in bodies.items():
        _read_body(provider, body, templating)


def needed_details(request: SendRequest) -> frozenset[Detail]:
    """What the walk has to bring of each device for this checked request."""
    needed: set[Detail] = set()
    if request.window is not None:
        needed.add(Detail.TIMEZONE)
    if request.rate is not None:
        needed |= parse_key(request.rate.key).uses
    if request.templating is not None:
        for provider, body in request.bodies.items():
            needed |= _read_body(provider, body, request.templating)
    return frozenset(needed)


def _read_body(provider: str, body: Body, templating: Templating) -> set[Detail]:
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
