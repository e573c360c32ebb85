from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tocsin.core.device import Detail, DeviceFilter
from tocsin.core.errors import BadRequest
from tocsin.core.push import Body, RateRule, SendRequest, Templating, TimeWindow
from tocsin.core.rates import RateLimit
from tocsin.push.options import check_templating, needed_details

TEXTS = {"en": {"hi": "Hi"}}


def check(
    message: bytes,
    *,
    provider: str = "fcm",
    templating: Templating | None = None,
    texts_size: int = 100,
) -> None:
    check_templating(
        templating or Templating(TEXTS, use_meta=True),
        {provider: Body(message)},
        texts_size,
    )


@pytest.mark.parametrize(
    ("provider", "message", "expected"),
    [
        (
            "fcm",
            b'{"notification":{"title":"ok","body":"Hi {{.device.x}}"}}',
            (
                "notification.fcm.message: template at notification.body, column 6:"
                " unknown variable .device.x; known: .device.id, .device.user,"
                " .device.meta.KEY, .l10n.NAME"
            ),
        ),
        (
            "apns",
            b'{"aps":{"alert":{"loc-args":["a","{{"]}}}',
            (
                "notification.apns.payload: template at aps.alert.loc-args[1],"
                " column 1: the braces are not closed"
            ),
        ),
        (
            "webpush",
            b'"{{range .x}}"',
            "notification.webpush.payload: template, column 3: range is not supported",
        ),
        (
            "expo",
            b'{"\\u0074":"\\u007b\\u007bnope}}"}',
            (
                "notification.expo.message: template at t, column 3: unknown function"
                " 'nope'; known: and, default, eq, index, ne, not, or"
            ),
        ),
    ],
)
def test_the_place_of_a_fault(provider: str, message: bytes, expected: str) -> None:
    """The field, the path in its JSON and the column, in every provider's body."""
    with pytest.raises(BadRequest) as caught:
        check(message, provider=provider)
    assert caught.value.message == f"bad request: {expected}"


def test_keys_are_no_templates() -> None:
    """What stands left of a colon is sent as it is."""
    check(b'{"{{nonsense":"x"}')


@pytest.mark.parametrize(
    ("templating", "message", "reason"),
    [
        (Templating(TEXTS), b'{"a":"{{.device.meta.x}}"}', "needs use_meta"),
        (Templating(use_meta=True), b'{"a":"{{.l10n.x}}"}', "needs localizations"),
    ],
)
def test_variables_without_their_source(
    templating: Templating, message: bytes, reason: str
) -> None:
    """What the worker would not have is refused at once."""
    with pytest.raises(BadRequest, match=reason):
        check(message, templating=templating)


def test_too_many_actions() -> None:
    """A body that would cost the worker its time is refused."""
    check(b'{"a":"' + b"{{.device.id}}" * 1000 + b'"}')
    with pytest.raises(BadRequest, match="at most 1000 template actions, has 1001"):
        check(b'{"a":"' + b"{{.device.id}}" * 1001 + b'"}')


@pytest.mark.parametrize(
    ("localizations", "field", "reason"),
    [
        ({"": {}}, "localizations", "key must not be empty"),
        ({"not a tag": {}}, 'localizations["not a tag"]', ""),
        ({"pt-BR": {}, "pt_br": {}}, 'localizations["pt_br"]', "given twice"),
        ({"en": {"": "x"}}, 'localizations["en"].translations', "must not be empty"),
        ({"en": {"a": "x" * 101}}, "localizations", "at most 100 bytes long, has 102"),
        (
            {f"aa-{number}": {} for number in range(501)},
            "localizations",
            "must be at most 500, are 501",
        ),
    ],
)
def test_localizations_that_cannot_be_looked_up(
    localizations: Any, field: str, reason: str
) -> None:
    """Every language is a tag, once, and together they are not too long."""
    with pytest.raises(BadRequest) as caught:
        check(b"{}", templating=Templating(localizations))
    assert caught.value.field == field
    assert reason in caught.value.detail


def test_only_needed_details_are_asked_for() -> None:
    """The walk stays as fast as it can be."""
    plain = SendRequest(
        recipient=DeviceFilter(topics=("t",)),
        bodies={"fcm": Body(b'{"a":"{{.device.user}}"}'), "apns": Body(b"{}")},
    )

    def needed(**changes: Any) -> set[Detail]:
        return set(needed_details(replace(plain, **changes)))

    limits = (RateLimit(1, 1),)
    assert needed() == set()
    assert needed(templating=Templating()) == {Detail.USER}
    assert needed(
        templating=Templating(TEXTS, use_meta=True),
        bodies={
            "fcm": Body(b'{"a":"{{.l10n.hi}}"}'),
            "apns": Body(b'["{{.device.meta.a}}"]'),
        },
    ) == {Detail.LOCALE, Detail.META}
    assert needed(window=TimeWindow(0, 1)) == {Detail.TIMEZONE}
    assert needed(rate=RateRule(limits)) == set()
    assert needed(rate=RateRule(limits, "{{.device.user}}")) == {Detail.USER}
