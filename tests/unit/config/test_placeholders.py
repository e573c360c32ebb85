"""Marks of templates that nobody filled in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tocsin.config import ConfigError, load_config
from tocsin.config.placeholders import find_placeholder, is_example
from tocsin.config.root import built

MARKS = [
    "${API_KEY}",
    "${API_KEY:-none}",
    "${{ secrets.API_KEY }}",
    "$API_KEY",
    "$api_key",
    "$(API_KEY)",
    "{{API_KEY}}",
    "{{ .Values.apiKey }}",
    "<API_KEY>",
    "%API_KEY%",
    "{API_KEY}",
    "[API_KEY]",
    "@API_KEY@",
    "@@API_KEY@@",
    "__API_KEY__",
    "#{API_KEY}#",
    "<%= ENV['API_KEY'] %>",
    " ${API_KEY} ",
    '"${API_KEY}"',
    "prefix-${API_KEY}",
    "op://vault/tocsin/key",
    "vault:secret/data/tocsin#key",
    "ref+awsssm://tocsin/key",
    "ENC[AES256_GCM,data:QUJD,type:str]",
    "{cipher}AQICAHh",
    "arn:aws:secretsmanager:eu-west-1:1:secret:tocsin",
]
SECRETS = [path for path, leaf in built().items() if leaf.secret]
IDENTITIES = [
    "push_notifications.hms.app_id",
    "push_notifications.one_signal.app_id",
    "push_notifications.pusher_beams.instance_id",
    "push_notifications.pushpad.project_id",
    "push_notifications.apns.token_key_id",
    "push_notifications.apns.token_team_id",
    "push_notifications.webpush.vapid_public_key",
    "client.token.rsa_public_key",
    "client.token.ecdsa_public_key",
    "grpc_api.tls.cert_pem",
]
PATHS = [path for path, leaf in built().items() if leaf.names_file]
ADDRESSES = [
    path for path, leaf in built().items() if leaf.holds_secret and leaf.kind != "list"
]

Faults = Callable[..., dict[str, str]]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """Path → message of what is wrong with a file or an environment."""

    def find(content: Any = None, **environ: str) -> dict[str, str]:
        (tmp_path / "c.json").write_text(json.dumps(content or {}))
        try:
            load_config(str(tmp_path / "c.json"), environ=environ)
        except ConfigError as error:
            return {fault.path: fault.message for fault in error.faults}
        return {}

    return find


@pytest.mark.parametrize("text", MARKS)
def test_a_mark_is_found(text: str) -> None:
    """In the ways of shells, compose files, charts, pipelines and old batch files."""
    assert find_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "change-me",
        "$ecret",
        "a$b",
        "p@ss",
        "50%off%now",
        "a{b}c",
        "x<y",
        "$2b$10$abc",
        "{",
    ],
)
def test_a_password_is_no_mark(text: str) -> None:
    """Signs alone make none."""
    assert not find_placeholder(text)


@pytest.mark.parametrize("mark", ["${API_KEY}", "<API_KEY>"])
@pytest.mark.parametrize("key", [*SECRETS, *IDENTITIES, *PATHS])
def test_every_credential_refuses_a_mark(key: str, mark: str, faults: Faults) -> None:
    """By file and by environment, with the key's name and without the value."""
    variable = "TOCSIN_" + key.upper().replace(".", "_")
    for found in (faults({key: mark}), faults(**{variable: mark})):
        assert "placeholder that nothing has filled in" in found[key]
        assert "API_KEY" not in found[key]


@pytest.mark.parametrize("key", ADDRESSES)
def test_every_address_refuses_a_mark(key: str, faults: Faults) -> None:
    """A password in it would be the mark."""
    schemes = {"dsn": "postgresql", "clickhouse_dsn": "http", "url": "https"}
    name = key.rpartition(".")[2]
    scheme = schemes.get(name, "redis" if "redis" in key else "postgresql")
    found = faults({key: f"{scheme}://u:${{PASSWORD}}@h"})
    assert "placeholder that nothing has filled in" in found[key]


def test_an_item_of_the_list_refuses_a_mark(faults: Faults) -> None:
    """As its section does."""
    item = {"identifier": "a", "provider": "hms", "app_id": "1", "app_secret": "${X}"}
    found = faults({"push_notifications": {"integrations": [item]}})
    assert list(found) == ["push_notifications.integrations[a].app_secret"]


def test_words_of_examples_are_told_and_taken(tmp_path: Path) -> None:
    """README's `change-me` goes on working."""
    path = tmp_path / "c.json"
    path.write_text('{"http_api": {"key": "change-me"}, "grpc_api": {"key": "k3y"}}')
    loaded = load_config(str(path), environ={})
    assert loaded.config.http_api.key == SecretStr("change-me")
    (warning,) = loaded.warnings
    assert warning.startswith("http_api.key has the value of an example")
    # A walk through README as it stands shows this: it must not read as a failure.
    assert "fine for a try on your own machine" in warning
    for text in ("changeme", "CHANGE_ME", "<your_app_id>", "your-key", "replace-me"):
        assert is_example(text)
    for text in ("secret", "k3y", "x", "mine"):
        assert not is_example(text)


def test_a_mark_elsewhere_is_told(tmp_path: Path) -> None:
    """Where a value may look so it is a warning only; a URL of keys holds {{name}}."""
    path = tmp_path / "c.json"
    token = {"jwks_public_endpoint": "https://id/{{realm}}", "audience": "${AUDIENCE}"}
    path.write_text(json.dumps({"client": {"token": token}}))
    (warning,) = load_config(str(path), environ={}).warnings
    assert warning.startswith("client.token.audience holds a placeholder")


def test_the_lists_above_are_complete() -> None:
    """Every secret and address of the sections is a key of the tests."""
    assert "grpc_api.key" in SECRETS
    assert "push_notifications.push_webhook.url" in ADDRESSES
    names = {path.rpartition(".")[2] for path in SECRETS}
    assert names >= {"key", "password", "secret", "hmac_secret_key"}


@pytest.mark.parametrize("key", ["http_api.key", "client.token.hmac_secret_key"])
def test_a_blank_is_no_secret(key: str, tmp_path: Path) -> None:
    """What is left of a variable that was empty would let everybody in."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({key: " \n"}))
    with pytest.raises(ConfigError, match=rf"{key}: is blank"):
        load_config(str(path), environ={})


@pytest.mark.parametrize("section", ["http_api", "grpc_api"])
def test_a_line_end_behind_an_api_key_is_no_part_of_it(section: str) -> None:
    """It came from the file of a secret; no header could carry it."""
    environ = {f"TOCSIN_{section.upper()}_KEY": "k3y-of-ours\n"}
    config = load_config(None, environ=environ).config
    assert getattr(config, section).key == SecretStr("k3y-of-ours")
