from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import Config, ConfigError, load_config
from tocsin.config.push import PushNotifications
from tocsin.core.push_services import SERVICES

SECTION = {"credentials_file": "a.json"}
B: dict[str, Any] = {
    "identifier": "shop",
    "provider": "fcm",
    "credentials_file": "b.json",
    "endpoint": "https://127.0.0.1:9443",
}
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_push(**push: Any) -> Config:
        file = tmp_path / "c.json"
        content = {"database": {"sqlite": {"path": "t.db"}}, "push_notifications": push}
        file.write_text(json.dumps(content))
        return load_config(str(file), environ={}).config

    return load_push


def fault_of(load: Load, **push: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**push)
    return [str(fault).partition(" [")[0] for fault in caught.value.faults]


def names(config: Config) -> list[tuple[str, str]]:
    push = config.push_notifications
    return [(each.identifier, each.provider) for each in push.active_credentials]


def test_an_item_has_the_keys_of_its_providers_section(load: Load) -> None:
    """Its defaults are those of the section, and it is active unless it says no."""
    config = load(enabled_providers=["fcm"], fcm=SECTION, integrations=[B])
    assert names(config) == [("fcm", "fcm"), ("shop", "fcm")]
    item = config.push_notifications.active_credentials[1].settings
    assert (item.credentials_file, item.tokens_batch_size) == ("b.json", 500)  # type: ignore[attr-defined] # of Fcm


def test_the_list_alone_switches_push_on(load: Load) -> None:
    """`enabled_providers` is about the sections."""
    config = load(integrations=[B])
    assert config.push_notifications.enabled
    assert config.push_notifications.active_providers == ("fcm",)
    assert names(config) == [("shop", "fcm")]
    assert not load(integrations=[{**B, "active": False}]).push_notifications.enabled


def test_a_section_without_keys_gives_way_to_the_list(load: Load) -> None:
    """Naming the provider as enabled does not ask for a second set of keys."""
    assert names(load(enabled_providers=["fcm"], integrations=[B])) == [("shop", "fcm")]


def test_an_inactive_item_needs_no_keys(load: Load) -> None:
    """It may wait for them."""
    off = {"identifier": "later", "provider": "hms", "active": False}
    config = load(enabled_providers=["fcm"], fcm=SECTION, integrations=[off])
    assert names(config) == [("fcm", "fcm")]


@pytest.mark.parametrize(
    ("items", "faults"),
    [
        ([{**B, "identifier": ""}], ["[].identifier: must match"]),
        ([{**B, "identifier": "a b"}], ["[a b].identifier: must match"]),
        ([{"provider": "fcm"}], ["[0].identifier: must be set"]),
        (
            [{**B, "identifier": "x" * 101}],
            [f"[{'x' * 101}].identifier: must have at most 100 characters"],
        ),
        ([{**B, "provider": "gcm"}], ["[shop]: must have a provider, one of fcm, hms"]),
        ([{"identifier": "x"}], ["[x]: must have a provider, one of fcm, hms"]),
        ([{**B, "app_id": "1"}], ["[shop].app_id: is not known"]),
        ([{**B, "endpoint": "ftp://x"}], ["[shop].endpoint: must be an origin"]),
        ([{**B, "active": 7}], ["[shop].active: must be true or false"]),
        ([B, B], ["[1].identifier: shop is the identifier of two"]),
        ([{**B, "identifier": "hms"}], ["[0].identifier: hms is the integration of"]),
        (
            [{**B, "credentials_file": ""}],
            ["[shop].credentials_file: must name the service account file"],
        ),
        (
            [{"identifier": "h", "provider": "hms", "app_id": "1"}],
            ["[h].app_secret: must be set, since hms is enabled"],
        ),
        (
            [{"identifier": "a", "provider": "apns", "bundle_id": "x"}],
            [
                "[a].token_key_id: must be set",
                "[a].token_team_id: must be set",
                "[a].token_key_file: or token_key_pem must be set",
            ],
        ),
        (["x"], ["[0]: must be an object"]),
        ({"a": 1}, [": must be a list of objects"]),
    ],
)
def test_a_wrong_item_is_told_by_its_name(
    load: Load, items: Any, faults: list[str]
) -> None:
    """Every fault names the item and the key, as in a section."""
    found = fault_of(load, integrations=items)
    assert len(found) == len(faults), found
    for text, start in zip(found, faults, strict=True):
        assert text.startswith(f"push_notifications.integrations{start}"), found


def test_a_pair_of_vapid_keys_must_fit_in_an_item_too(load: Load) -> None:
    """Another public key would have every subscription refused."""
    item = {
        "identifier": "site",
        "provider": "webpush",
        "subject": "mailto:a@example.com",
        "vapid_public_key": "BNbN3OiAQfsn5YbdnxDI2b0bqGyFWLXk1hqRaf8gKFbEsXGnvzmA"
        "eqPKAkAqXGoyYPhJ0K3nUsDDJNrEJ0FVY0s",
        "vapid_private_key": "Dt1CLgQlkiaA-tmCkATyKZeoF1-Gtw1-gdEP6pOCqj4",
    }
    (fault,) = fault_of(load, integrations=[item])
    assert "push_notifications.integrations[site].vapid_public_key" in fault


def test_secrets_of_an_item_are_neither_shown_nor_quoted(load: Load) -> None:
    """Neither the log at start nor a fault repeats them."""
    item = {
        "identifier": "h",
        "provider": "hms",
        "app_id": "1",
        "app_secret": "hunter2",
    }
    shown = json.dumps(load(integrations=[item]).redacted())
    assert '"identifier": "h"' in shown
    assert "hunter2" not in shown
    faults = fault_of(load, integrations=[{**item, "app_secret": ["hunter2"]}])
    assert "hunter2" not in " ".join(faults)


def test_the_environment_takes_the_list_as_json(tmp_path: Path) -> None:
    """As every other list of objects."""
    environ = {
        "TOCSIN_DATABASE_SQLITE_PATH": str(tmp_path / "t.db"),
        "TOCSIN_PUSH_NOTIFICATIONS_INTEGRATIONS": json.dumps([B]),
    }
    assert names(load_config(None, environ=environ).config) == [("shop", "fcm")]


@pytest.mark.parametrize("provider", SERVICES)
def test_every_provider_can_be_in_the_list(load: Load, provider: str) -> None:
    """With all the keys of its section, under its own name."""
    item = {"identifier": "x", "provider": provider, "active": False}
    (credential,) = load(integrations=[item]).push_notifications.items
    listed = credential.settings
    section = getattr(PushNotifications(), provider.replace("-", "_"))
    assert set(type(listed).model_fields) == {*item, *type(section).model_fields}
