"""How much of a configured value a message may show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.credential_texts import BASE64, CREDENTIALS, PEM

from tocsin.config.showing import (
    hide,
    looks_like_credential,
    scrub_quoted,
    scrub_text,
    show_name,
    show_path,
    show_value,
    show_word,
)

PATHS = [
    "/etc/tocsin/service-account.json",
    "sa.json",
    "./secrets/apns",
    "/run/secrets/fcm_credentials",
    "AuthKey_ABC123DEFG.p8",
    "C:\\keys\\new\\AuthKey_ABC123DEFG.p8",
    "my-app-1234567890-firebase-adminsdk-x1y2z-0a1b2c3d4e.json",
    "/etc/..2026_11_28_06_00_00.123456789/sa.json",
    "/usr/local/etc/openssl@3/cert.pem",
    "/home/someone/My Keys (new)/push.p12",
    "tocsin.db",
    "/home/müller/ключ.json",
]


@pytest.mark.parametrize("text", CREDENTIALS, ids=range(len(CREDENTIALS)))
def test_credential_text_is_told_from_a_path(text: str) -> None:
    """And no more than its first four characters is shown."""
    assert looks_like_credential(text)
    for shown in (show_path(text), show_value(text), hide(text)):
        assert text[:5] not in shown
        assert text[5:12] not in shown


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_shown_as_it_is(path: str) -> None:
    """A person has to see which file is meant."""
    assert not looks_like_credential(path)
    assert show_path(path) == path


@pytest.mark.parametrize("text", ["hunter2", "secret-word", "abc/def", "/" + BASE64])
def test_what_is_no_credible_path_is_hidden(text: str) -> None:
    """A bare word may be the password that somebody put there."""
    assert show_path(text) == f'"{text[:4]}…" ({len(text)} characters)'


@pytest.mark.parametrize(
    "path",
    [
        "secrets_mounted_by_the_orchestrator_for_production",
        "projects-1234-service-account-key-production",
        "/var/lib/volumes/6f1ed002ab5595859014ebf0951522d96f1ed002ab5595859014ebf0/x",
        "/nix/store/0c9ip2dmnvxkvh2yl4l8zc8kqbk5gm0p-cacert/ca-bundle.crt",
        "/data/env=prod/sa.json",
        "/dev/fd/3",
        ":memory:",
        "tocsin",
    ],
)
def test_a_path_that_cannot_be_told_from_a_key_is_taken(path: str) -> None:
    """Refusing is for what no path is; whether it is shown is another question."""
    assert not looks_like_credential(path)


def test_a_path_that_leads_somewhere_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert show_path("folder") == "folder"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("loud", '"loud"'),
        ("30s", '"30s"'),
        ("", '""'),
        (70_000, "70000"),
        (1.5, "1.5"),
        (True, "true"),
        pytest.param(10**5000, "a number that long", id="huge"),
        ("hunter2", '"hunt…" (7 characters)'),
        ({"a": 1}, ""),
    ],
)
def test_a_wrong_value_is_shown_where_it_is_a_word_or_a_number(
    value: object, shown: str
) -> None:
    """Everything else may be a secret at a wrong place."""
    assert show_value(value) == shown


def test_names_are_shown_and_keys_are_not() -> None:
    """An unknown name has to be found in the file; a key is not repeated."""
    assert show_name("channel.namespaces[chat].history_ttl") in (
        "channel.namespaces[chat].history_ttl"
    )
    key = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
    assert show_name(f"grpc_api.{key}").startswith('"grpc…"')
    assert "\n" not in show_name("a\nbcdef")


def test_a_parsers_words_lose_what_they_quote() -> None:
    """Signs and kinds of tokens stay; pieces of the file go."""
    assert scrub_quoted("found undefined alias 'hunter2'") == (
        'found undefined alias "hunt…" (7 characters)'
    )
    text = "expected <block end>, but found '<scalar>' or ':'"
    assert scrub_quoted(text) == text


def test_a_foreign_error_loses_its_credentials() -> None:
    """PEM, logins of addresses, and what looks random."""
    text = (
        f"no: {PEM} at postgresql://u:hun/ter@2@db/x key={BASE64[:60]} for /etc/a.json"
    )
    shown = scrub_text(text)
    assert "MIGT" not in shown
    assert "ter@2" not in shown
    assert BASE64[:6] not in shown
    assert "/etc/a.json" in shown


@pytest.mark.parametrize(
    "phrase",
    ["correct horse battery staple", "correct-horse-battery", "supersecret", "my pass"],
)
def test_a_phrase_that_may_be_a_password_is_hidden(phrase: str) -> None:
    """It is made of plain words, as names of options are, but of more of them."""
    assert show_value(phrase) == show_word(phrase) == hide(phrase)
