from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.push import Body, Recipients, Templating
from tocsin.core.templates import TemplateFault
from tocsin.delivery.rendering import (
    MAX_RENDERED_BYTES,
    BodyRenderer,
    Localizations,
    RenderFault,
)

HOSTILE = '"},"token":"x","a":{"\\\\u0000\n</script>{{.device.id}}'


def batch(**lists: Any) -> Recipients:
    return Recipients(("t",), ("d1",), ("ios",), **lists)


def renderer(message: str, *, localizations: object = None) -> BodyRenderer:
    texts = localizations or {"en": {"hi": "Hello"}}
    templating = Templating(texts, use_meta=True)  # type: ignore[arg-type]
    return BodyRenderer(Body(message.encode(), {"h": "v"}), templating)


def test_only_the_templates_change() -> None:
    """Every byte outside of a template stays: spaces, escapes, numbers, order."""
    message = '{ "b" : 1.50, "a":"\\u00e9 {{.device.id}}", "big":12345678901234567890}'
    body = renderer(message).render(batch()[0])
    assert (
        body.message.decode() == '{ "b" : 1.50, "a":"é d1", "big":12345678901234567890}'
    )
    assert body.headers == {"h": "v"}


def test_a_body_without_templates_is_constant() -> None:
    """Then there is nothing to render, and the caller's bytes go out."""
    message = '{"a": "}} no {template", "{{key}}": 1}'
    constant = renderer(message)
    assert constant.is_constant
    assert constant.render(batch()[0]).message == message.encode()
    assert not renderer('{"a":"{{.device.id}}"}').is_constant


def test_a_devices_words_stay_words() -> None:
    """What looks like JSON or like a template in a device's data is only text."""
    message = '{"a":{"b":"<{{.device.meta.x}}>"},"u":"{{.device.user}}"}'
    work = batch(users=(HOSTILE,), metas=(json.dumps({"x": HOSTILE}),))
    rendered = json.loads(renderer(message).render(work[0]).message)
    assert rendered == {"a": {"b": f"<{HOSTILE}>"}, "u": HOSTILE}


def test_a_text_that_is_the_same_for_all_is_escaped_too() -> None:
    """Literals and localized texts may hold quotes and line breaks."""
    quote = '{{if .device.id}}"{{end}}'
    message = json.dumps(
        {"a": '{{default [[say "hi"\n]] .l10n.none}} {{.l10n.q}} ' + quote}
    )
    texts = {"en": {"q": 'a\\b"'}}
    body = renderer(message, localizations=texts).render(batch(locales=("en",))[0])
    assert json.loads(body.message) == {"a": 'say "hi"\n a\\b" "'}


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("pt-BR", "Oi"),
        ("pt_br", "Oi"),
        ("PT", "Olá"),
        ("pt-PT", "Olá"),
        ("pt-BR-x-any", "Oi"),
        ("zh-Hant-TW", "嗨"),
        ("zh-TW", ""),
        ("p", ""),
        ("", ""),
        ("-", ""),
    ],
)
def test_texts_of_a_locale(locale: str, expected: str) -> None:
    """The exact tag, then ever shorter ones; case and underscore do not count."""
    texts = Localizations(
        {"pt": {"hi": "Olá"}, "pt_BR": {"hi": "Oi"}, "zh-Hant": {"hi": "嗨"}}
    )
    assert texts.texts_for(locale).get("hi", "") == expected


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("zh-Hant-TW", "region"),
        ("zh_Hant_HK", "language"),
        ("iw_IL", "שלום"),
        ("he", "שלום"),
        ("in_ID", "Halo"),
        ("en-GB-u-ca-gregory", "Hi"),
        ("en_US_POSIX", "Hi"),
    ],
)
def test_texts_of_what_phones_say(locale: str, expected: str) -> None:
    """A script in between hides no region, and old codes find the new."""
    texts = Localizations(
        {
            "zh": {"hi": "language"},
            "zh-TW": {"hi": "region"},
            "he": {"hi": "שלום"},
            "id": {"hi": "Halo"},
            "en": {"hi": "Hi"},
        }
    )
    assert texts.texts_for(locale).get("hi", "") == expected


def test_one_language_is_taken_whole() -> None:
    """A name that the exact tag lacks is not looked for in the base language."""
    texts = Localizations({"pt": {"a": "1"}, "pt-BR": {"b": "2"}})
    assert dict(texts.texts_for("pt-BR")) == {"b": "2"}


@pytest.mark.parametrize("meta", ["[]", '{"x":5}', "{", '{"x":null}'])
def test_unusable_data_fails_for_that_device(meta: str) -> None:
    """What no registration can have left there is a fault of one recipient."""
    with pytest.raises(RenderFault):
        renderer('{"a":"{{.device.meta.x}}"}').render(batch(metas=(meta,))[0])


def test_a_message_must_not_grow_without_bound() -> None:
    """A device's words, used often enough, would fill the worker's memory."""
    message = json.dumps({"a": "{{.device.user}}" * 1000})
    work = batch(users=("x" * (MAX_RENDERED_BYTES // 1000 + 1),))
    with pytest.raises(RenderFault, match="grew"):
        renderer(message).render(work[0])


def test_a_template_of_another_release_is_a_fault() -> None:
    """What was not checked at accept is found out before anything is sent."""
    with pytest.raises(TemplateFault):
        renderer('{"a":"{{shout .device.id}}"}')


def test_a_lone_string_and_branches_render() -> None:
    """A Web Push payload may be any JSON; blocks choose their text."""
    lone = renderer('"{{if .device.user}}Hi {{.device.user}}{{else}}Hi{{end}}"')
    assert lone.render(batch(users=("bob",))[0]).message == b'"Hi bob"'
    assert lone.render(batch()[0]).message == b'"Hi"'
