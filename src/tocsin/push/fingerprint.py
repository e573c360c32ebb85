"""Push room: what makes two send requests the same one. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tocsin.core.push import RawRecipient, SendRequest
from tocsin.push.bodies import canonical_body

_Add = Callable[..., None]


def fingerprint(request: SendRequest) -> bytes:
    """SHA-256 over what the request asks for, without its uid.

    The order of lists, maps and JSON keys does not count, nor does the spelling
    of the API that it came in. Options that are not set add nothing, so that a
    repeat that meets a newer release is still known.
    """
    digest = hashlib.sha256()

    def add(*parts: str | bytes) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else part.encode()
            digest.update(b"%d:" % len(data))
            digest.update(data)
        digest.update(b";")

    _add_recipient(add, request)
    for provider in sorted(request.bodies):
        body = request.bodies[provider]
        add("body", provider, canonical_body(body.message))
        for key in sorted(body.headers):
            add("header", key, body.headers[key])
    add("rest", str(request.expire_at_ms), request.analytics_uid, request.integration)
    _add_options(add, request)
    return digest.digest()


def _add_recipient(add: _Add, request: SendRequest) -> None:
    recipient = request.recipient
    if isinstance(recipient, RawRecipient):
        add("raw", recipient.provider, recipient.kind, *sorted(recipient.targets))
        return
    add("filter")
    for name in ("ids", "users", "topics", "providers", "platforms"):
        add(name, *sorted(getattr(recipient, name)))
    add("integrations", *sorted(recipient.integrations))
    for key in sorted(recipient.tags):
        add("tag", key, recipient.tags[key])
    pairs = {(g.provider, t) for g in recipient.provider_tokens for t in g.tokens}
    for pair in sorted(pairs):
        add("token", *pair)


def _add_options(add: _Add, request: SendRequest) -> None:
    if request.send_at_ms:
        add("send_at", str(request.send_at_ms))
    if request.reliable:
        add("reliable")
    if (rate := request.rate) is not None:
        limits = sorted((limit.rate, limit.interval_ms) for limit in rate.limits)
        add("rate", rate.key, str(rate.drop), str(limits))
    if (window := request.window) is not None:
        numbers = (window.after_s, window.before_s, int(window.no_tz_send_now))
        add("window", str(numbers))
    if (first := request.online_first) is not None:
        add("online_first", first.channel, _canonical(first.data), first.b64data)
        add("wait", str(first.wait_ms))
        for key in sorted(first.tags):
            add("tag", key, first.tags[key])
    if (templating := request.templating) is not None:
        add("templating", str(templating.use_meta))
        for language in sorted(templating.localizations):
            texts = templating.localizations[language]
            add(
                "language",
                language,
                *(part for text in sorted(texts.items()) for part in text),
            )


def _canonical(data: bytes) -> bytes:
    try:
        return canonical_body(data)
    except ValueError:
        return data  # a channel carries any bytes
