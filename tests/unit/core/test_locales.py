"""What phones and browsers really say of their language."""

from __future__ import annotations

import pytest

from tocsin.core.locales import lookup_tags, usable_locale


@pytest.mark.parametrize(
    "tag",
    [
        "en",
        "pt-BR",
        "pt_BR",
        "zh-Hant-TW",
        "x-elvish",
        "i-klingon",
        "es-419",
        "en-001",
        "en-GB-u-ca-gregory",
        "zh-Hans_CN",
        "fil",
        "iw_IL",
        "ca_ES_VALENCIA",
        "EN",
        "en_US_POSIX",
        "en-GB-u-ca-gregory-x-private",
        "de-1996",
    ],
)
def test_a_tag_stays_as_it_was_written(tag: str) -> None:
    """What is well formed needs no help."""
    assert usable_locale(tag) == tag


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        # Java and Android: Locale.toString()
        ("zh_TW_#Hant", "zh-Hant-TW"),
        ("sr_RS_#Latn", "sr-Latn-RS"),
        ("zh__#Hans", "zh-Hans"),
        ("zh_CN_#Hans_u-nu-latn", "zh-Hans-CN"),
        ("th_TH_TH_#u-nu-thai", "th-TH"),
        ("ja_JP_JP_#u-ca-japanese", "ja-JP"),
        ("en_US_#u-fw-mon-mu-celsius", "en-US"),
        ("es_419_#Latn", "es-Latn-419"),
        ("[de_DE, en_US]", "de_DE"),
        ("[zh_TW_#Hant,en_US]", "zh-Hant-TW"),
        # Apple
        ("en_US (current)", "en_US"),
        ("de_DE (fixed en_DE)", "de_DE"),
        ("zh-Hant_TW@calendar=roc (autoupdatingCurrent)", "zh-Hant-TW"),
        ("en_US@rg=gbzzzz", "en-US"),
        ("en_US@calendar=japanese;numbers=latn", "en-US"),
        ("zh-Hant_HK@calendar=gregorian", "zh-Hant-HK"),
        ("ar@numbers=latn", "ar"),
        # POSIX
        ("en_US.UTF-8", "en-US"),
        ("de_DE.UTF-8@euro", "de-DE"),
        ("sr_RS@latin", "sr-Latn-RS"),
        ("pt_BR.iso88591", "pt-BR"),
        # Browsers, and whoever passes their header on
        ("en-US,en;q=0.9,de;q=0.8", "en-US"),
        ("de;q=1", "de"),
        # Sloppy hands
        ("  fr-CA\n", "fr-CA"),
        ('"fr-CA"', "fr-CA"),
        ("en-", "en"),
        ("en_", "en"),
        ("en--US", "en-US"),
        ("en" + "-abcdefgh" * 20, "en"),
    ],
)
def test_what_is_usable_is_kept(said: str, kept: str) -> None:
    """Language, script and region of any form."""
    assert usable_locale(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "C",
        "POSIX",
        "C.UTF-8",
        "und",
        "und-US",
        "root",
        "null",
        "undefined",
        "_US",
        "__#Hans",
        "@rg=gbzzzz",
        "e",
        "English",
        "dé",
        "中文",
        "123",
        "-",
        "#",
        ",",
        "x" * 200,
        "en" * 1000,
        "\x00",
        "\ud800",
        "[object Object]",
        "mul",
        "zxx",
    ],
)
def test_what_is_no_language_is_nothing(said: str) -> None:
    """It is as a device that says nothing."""
    assert usable_locale(said) == ""


@pytest.mark.parametrize(
    ("locale", "tags"),
    [
        ("", []),
        ("pt_BR", ["pt-br", "pt"]),
        ("zh-Hant-TW", ["zh-hant-tw", "zh-hant", "zh-tw", "zh"]),
        ("zh-Hant", ["zh-hant", "zh"]),
        ("iw_IL", ["iw-il", "iw", "he-il", "he"]),
        ("he", ["he", "iw"]),
    ],
)
def test_where_texts_are_looked_for(locale: str, tags: list[str]) -> None:
    """From the exact tag to the language, and to its other code."""
    assert list(lookup_tags(locale)) == tags
