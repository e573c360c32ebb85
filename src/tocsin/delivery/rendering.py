"""Renders bodies for each device: compiled once, then joined from bytes.

Only strings that hold a template change; every other byte stays as the caller wrote
it. Values of a device are escaped as JSON text, so that they cannot change the
structure of the body. It must not know a provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring

import orjson

from tocsin.core.json_strings import find_strings
from tocsin.core.locales import lookup_tags
from tocsin.core.push import Body, Recipient, Templating
from tocsin.core.template_values import DeviceFields
from tocsin.core.templates import (
    Branch,
    Node,
    Print,
    Scope,
    Text,
    is_template,
    parse_template,
)

MAX_RENDERED_BYTES = 262_144
"""No push service takes as much; it bounds the memory that values of a device use."""

_Part = Callable[[DeviceFields], bytes]
_NO_TEXTS: Mapping[str, str] = {}


class RenderFault(ValueError):
    """A body cannot be rendered for this device; the text holds no value of it."""


class Localizations:
    """Texts by language, found by the locale of a device."""

    def __init__(self, localizations: Mapping[str, Mapping[str, str]]) -> None:
        self._by_tag = {_tag(name): texts for name, texts in localizations.items()}
        self._found: dict[str, Mapping[str, str]] = {}

    def texts_for(self, locale: str) -> Mapping[str, str]:
        """The texts of the first tag of `lookup_tags` that has any, else none."""
        texts = self._found.get(locale)
        if texts is None:
            texts = self._found[locale] = self._find(locale)
        return texts

    def _find(self, locale: str) -> Mapping[str, str]:
        for tag in lookup_tags(locale):
            if tag in self._by_tag:
                return self._by_tag[tag]
        return _NO_TEXTS


class BodyRenderer:
    """One provider's body of one request, ready for any number of devices."""

    def __init__(self, body: Body, templating: Templating) -> None:
        """Raises `TemplateFault` for a template that was not checked at accept."""
        self._body = body
        self._localizations = Localizations(templating.localizations)
        scope = Scope(meta=templating.use_meta, l10n=bool(templating.localizations))
        self._parts = _compile(body.message, scope)

    @property
    def is_constant(self) -> bool:
        """Whether every device gets the body as it is."""
        return not any(callable(part) for part in self._parts)

    def render(self, recipient: Recipient) -> Body:
        """The body for one recipient of a batch; raises `RenderFault`."""
        try:
            device = self._fields(recipient)
            message = b"".join(
                [
                    part if isinstance(part, bytes) else part(device)
                    for part in self._parts
                ]
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise RenderFault(
                f"the device's data cannot be used: {type(error).__name__}"
            ) from None
        if len(message) > MAX_RENDERED_BYTES:
            raise RenderFault(f"the message grew to {len(message)} bytes")
        return Body(message, self._body.headers)

    def _fields(self, recipient: Recipient) -> DeviceFields:
        return DeviceFields(
            recipient.device_id,
            recipient.user,
            orjson.loads(recipient.meta) if recipient.meta else _NO_TEXTS,
            self._localizations.texts_for(recipient.locale),
        )


def _tag(locale: str) -> str:
    return locale.lower().replace("_", "-")


def _compile(message: bytes, scope: Scope) -> list[bytes | _Part]:
    parts: list[bytes | _Part] = []
    kept = 0
    for string in find_strings(message):
        if is_template(string.text):
            template = parse_template(string.text, scope)
            parts += [
                message[kept : string.start] + b'"',
                *map(_part, template.nodes),
                b'"',
            ]
            kept = string.end
    return _joined([*parts, message[kept:]])


def _part(node: Node) -> bytes | _Part:
    if isinstance(node, Text):
        return _escape(node.text)
    if isinstance(node, Print):
        value = node.value
        return lambda device: _escape(value(device))
    return _branch(node)


def _branch(node: Branch) -> _Part:
    condition = node.condition
    then = [_part(each) for each in node.then]
    otherwise = [_part(each) for each in node.otherwise]

    def render(device: DeviceFields) -> bytes:
        chosen = then if condition(device) else otherwise
        return b"".join(
            [part if isinstance(part, bytes) else part(device) for part in chosen]
        )

    return render


def _joined(parts: Sequence[bytes | _Part]) -> list[bytes | _Part]:
    # Neighbouring bytes become one part, since parts are joined for each device.
    joined: list[bytes | _Part] = []
    for part in parts:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        elif part != b"":
            joined.append(part)
    return joined


def _escape(text: str) -> bytes:
    return encode_basestring(text)[1:-1].encode()
