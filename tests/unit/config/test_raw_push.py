from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import ConfigError, load_config
from tocsin.config.root import Config

SECTIONS: dict[str, dict[str, Any]] = {
    "hms": {"app_id": "1", "app_secret": "k"},
    "expo": {},
    "one_signal": {"app_id": "1", "api_key": "k"},
    "push_webhook": {"url": "https://a.b/c", "secret": "k"},
    "pusher_beams": {"instance_id": "1", "secret_key": "k"},
    "pushpad": {"auth_token": "k", "project_id": "1"},
}
"""What each service cannot do without."""


def load(folder: Path, name: str, **section: Any) -> Config:
    path = folder / "c.json"
    push = {"enabled_providers": [name.replace("_", "-")], name: section}
    content = {"database": {"sqlite": {"path": "x"}}, "push_notifications": push}
    path.write_text(json.dumps(content))
    return load_config(str(path), environ={}).config


@pytest.mark.parametrize("name", SECTIONS)
def test_the_least_that_is_needed_is_enough(tmp_path: Path, name: str) -> None:
    """Everything else has a default, a batch size too."""
    push = load(tmp_path, name, **SECTIONS[name]).push_notifications
    assert getattr(push, name).tokens_batch_size >= 1


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, keys in SECTIONS.items() for key in keys]
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, key: str) -> None:
    """A provider that cannot send is an error at start."""
    section = {k: v for k, v in SECTIONS[name].items() if k != key}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, name, **section)
    assert f"push_notifications.{name}.{key}" in str(caught.value)
    assert f"must be set, since {name.replace('_', '-')} is enabled" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("hms", "tokens_batch_size", 1001),
        ("expo", "tokens_batch_size", 101),
        ("one_signal", "tokens_batch_size", 2001),
        ("pusher_beams", "tokens_batch_size", 1001),
        ("one_signal", "api_version", "v3"),
        ("expo", "receipt_delay", "1ms"),
        ("push_webhook", "url", "no url"),
    ],
)
def test_limits_of_the_services_are_kept(
    tmp_path: Path, name: str, key: str, value: Any
) -> None:
    """A larger request would be refused as a whole."""
    with pytest.raises(ConfigError, match=key):
        load(tmp_path, name, **{**SECTIONS[name], key: value})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither keys nor a password in the webhook's address."""
    for name, section in SECTIONS.items():
        secret = "s3cr3t"
        given = {k: secret if v == "k" else v for k, v in section.items()}
        if name == "push_webhook":
            given["url"] = f"https://user:{secret}@a.b/c"
        config = load(tmp_path, name, **given)
        assert secret not in json.dumps(config.redacted())
        assert secret not in repr(config)
