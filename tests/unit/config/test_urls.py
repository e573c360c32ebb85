"""URLs are taken apart without repeating one; addresses are shown by their parts."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tocsin.config import ConfigError, load_config
from tocsin.config.clickhouse import parse_dsn
from tocsin.config.redis_addresses import mask_redis, parse_redis
from tocsin.config.root import built, mask_passwords
from tocsin.config.urls import mask_url, split_url

SIGNS = "#/?@%:&= ,;'\"\\[]{}$+!*()<>|^`~é€℀\t"
URL_KEYS = (
    "client.token.jwks_public_endpoint",
    "client.subscription_token.jwks_public_endpoint",
    "clickhouse_analytics.clickhouse_dsn",
    "database.postgresql.dsn",
    "engine.redis.address",
    "push_notifications.apns.endpoint",
    "push_notifications.expo.endpoint",
    "push_notifications.fcm.endpoint",
    "push_notifications.hms.auth_endpoint",
    "push_notifications.push_webhook.url",
    "push_notifications.queue.redis.address",
    "push_notifications.webpush.subject",
    "push_notifications.webpush.allowed_endpoint_origins",
    "client.allowed_origins",
)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hunter2@h:many",
        "http://u:hunter2℀@h",
        "http://u:hunter2@[h",
        "http://u:hun ter2@h",
        "http://u:hun/ter2@h",
        "http://hun/ter2\n@h",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """The library's own error would quote it."""
    try:
        split_url(url, "http://h")
    except ValueError as error:
        assert "ter2" not in str(error)  # noqa: PT017 - either end is right
    assert "ter2" not in mask_url(url)


@pytest.mark.parametrize("key", URL_KEYS)
def test_no_key_repeats_a_login(key: str, tmp_path: Path) -> None:
    """Whatever stands unescaped in the password of its value."""
    for sign in '#/?@% ,"[\u2100\t':
        _try_login(key, sign, tmp_path)


def _try_login(key: str, sign: str, tmp_path: Path) -> None:
    scheme = {"dsn": "postgresql", "address": "redis"}.get(
        key.rpartition(".")[2], "ftp"
    )
    path = tmp_path / "c.json"
    for name in (scheme, "http"):
        value = f"{name}://user:hun{sign}ter2x@h:80x/y"
        path.write_text(json.dumps({key: value}))
        try:
            config = load_config(str(path), environ={}).config
        except ConfigError as error:
            assert key in str(error)  # noqa: PT017 - either end is right
            assert "ter2x" not in str(error)  # noqa: PT017
        else:
            if built()[key].holds_secret:
                assert "ter2x" not in json.dumps(config.redacted())


@pytest.mark.parametrize("sign", SIGNS)
def test_a_redis_password_with_any_sign(sign: str) -> None:
    """Escaped it is taken; unescaped it is what was written, or refused unshown."""
    password = f"hun{sign}ter2"
    assert parse_redis(f"redis://:{quote(password, safe='')}@h").login.password == (
        password
    )
    address = f"redis://u:{password}@h:1"
    try:
        read = parse_redis(address)
    except ValueError as error:
        assert "ter2" not in str(error)  # noqa: PT017 - either end is right
    else:
        assert (read.login.password, read.nodes) == (password, (("h", 1),))
    assert "ter2" not in mask_redis(address)


@pytest.mark.parametrize("sign", SIGNS)
def test_a_clickhouse_password_with_any_sign(sign: str) -> None:
    """The same."""
    password = f"hun{sign}ter2"
    assert parse_dsn(f"http://u:{quote(password, safe='')}@h").password == password
    try:
        read = parse_dsn(f"http://u:{password}@h:1")
    except ValueError as error:
        assert "ter2" not in str(error)  # noqa: PT017 - either end is right
    else:
        assert (read.password, read.origin) == (password, "http://h:1")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("h:1", "h:1"),
        ("redis://:hunter2@h:1/3", "redis://:***@h:1/3"),
        ("redis://u:hun@ter2@h", "redis://u:***@h"),
        ("rediss://h?tls_key_pem=hunter2&tls_cert_pem=c", None),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        (
            "redis+sentinel://:hunter2@a,b?sentinel_master_name=m&sentinel_password=hunter2",
            None,
        ),
        ("redis://:hun/ter2@h", "redis://…"),
        ("hunter2", "…"),
    ],
)
def test_a_redis_address_is_shown_by_its_parts(address: str, shown: str | None) -> None:
    """Only its scheme, where the parts cannot be told."""
    told = mask_redis(address)
    assert "ter2" not in told
    if shown is not None:
        assert told == shown


@pytest.mark.parametrize("login", ["u:hunter2@", ":hunter2@", "hunter2@"])
@pytest.mark.parametrize("key", ["push_notifications.fcm", "push_notifications.apns"])
def test_an_origin_has_no_login(login: str, key: str) -> None:
    """It would be sent to nobody, and stand in errors."""
    origin = f"https://{login}example.com"
    with pytest.raises(ConfigError, match="origin") as raised:
        load_config(None, environ={}, overrides={f"{key}.endpoint": origin})
    assert "hunter2" not in str(raised.value)


def test_an_escape_that_is_no_text_is_refused() -> None:
    """It would be another password than the one that was meant."""
    with pytest.raises(ValueError, match="UTF-8"):
        parse_redis("redis://:%C3@h")
    assert parse_redis("redis://:50%off@h").login.password == "50%off"


def test_half_an_address_says_what_cut_it() -> None:
    """A comma in a password ends an address in the text of a variable."""
    environ = {"TOCSIN_ENGINE_REDIS_ADDRESS": "redis://:hun,ter2@h:1"}
    with pytest.raises(ConfigError, match="%2C") as raised:
        load_config(None, environ=environ)
    assert "ter2" not in str(raised.value)


@pytest.mark.parametrize("sign", "#/?@%:")
def test_a_foreign_text_loses_the_whole_password(sign: str) -> None:
    """Up to the last @ of the address that it quotes."""
    shown = mask_passwords(f"cannot reach http://u:hun{sign}ter2@h/x today")
    assert shown == "cannot reach http://u:***@h/x today"
