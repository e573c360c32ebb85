"""Namespaces from files and variables, and what is wrong with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import Config, ConfigError, load_config

CHAT = {"name": "chat", "history_size": 5, "history_ttl": "60s"}


class Loader:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "c.json"

    def load(
        self, content: object, environ: Mapping[str, str] | None = None
    ) -> tuple[Config, list[str]]:
        self._path.write_text(json.dumps(content))
        loaded = load_config(str(self._path), environ=environ or {})
        return loaded.config, loaded.warnings

    def faults(
        self, content: object, environ: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        with pytest.raises(ConfigError) as raised:
            self.load(content, environ)
        return {fault.path: fault.message for fault in raised.value.faults}


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


@pytest.mark.parametrize("key", ["channel.namespaces", "namespaces"])
def test_namespaces_are_a_list_of_objects(loader: Loader, key: str) -> None:
    """Under the new name and the old flat one."""
    config, _ = loader.load({key: [CHAT, {"name": "news", "presence": "t"}]})
    chat, news = config.channel.namespaces
    assert (chat.name, chat.history_size, chat.history_ttl) == ("chat", 5, 60.0)
    assert (news.name, news.presence, news.history_size) == ("news", True, 0)
    shown = config.redacted()["channel"]["namespaces"]
    assert shown[1] == {"name": "news", "presence": True}


def test_old_flat_options_are_those_without_namespace(loader: Loader) -> None:
    """As configurations of the seed's time have them."""
    config, warnings = loader.load(
        {
            "presence": True,
            "history_size": 10,
            "history_ttl": "300s",
            "allow_subscribe_for_client": True,
            "token_hmac_secret_key": "s",
            "allowed_origins": ["http://localhost:3000"],
            "client_insecure": True,
            "engine": "redis",
            "redis_address": "h:1",
            "global_presence_ttl": "30s",
            "user_subscribe_to_personal": True,
        }
    )
    options = config.channel.without_namespace
    assert options.presence
    assert options.allow_subscribe_for_client
    assert (options.history_size, options.history_ttl) == (10, 300.0)
    assert config.client.token.hmac_secret_key.get_secret_value() == "s"
    assert config.client.allowed_origins == ("http://localhost:3000",)
    assert config.client.insecure
    assert config.engine.type == "redis"
    assert config.engine.redis.urls == ("redis://h:1",)
    assert config.engine.redis.presence_ttl == 30.0
    assert config.client.subscribe_to_user_personal_channel.enabled
    assert "history_size is the old name of" in "\n".join(warnings)


@pytest.mark.parametrize("prefix", ["TOCSIN", "CENTRIFUGO"])
@pytest.mark.parametrize(
    "text", ['[{"name":"chat-1","presence":true},{"name":"ne"}]', "chat-1 ne"]
)
def test_namespaces_by_variables(loader: Loader, prefix: str, text: str) -> None:
    """As JSON or as names, and each option by a variable of its own."""
    config, _ = loader.load(
        {},
        {
            f"{prefix}_CHANNEL_NAMESPACES": text,
            f"{prefix}_CHANNEL_NAMESPACES_CHAT_1_HISTORY_SIZE": "7",
            f"{prefix}_CHANNEL_NAMESPACES_CHAT_1_HISTORY_TTL": "1h30m",
            f"{prefix}_CHANNEL_NAMESPACES_NE_ALLOWED_DELTA_TYPES": "fossil",
        },
    )
    chat, news = config.channel.namespaces
    assert (chat.history_size, chat.history_ttl) == (7, 5400.0)
    assert chat.presence is text.startswith("[")
    assert news.allowed_delta_types == ("fossil",)


def test_variables_go_over_the_file_and_ours_over_the_published(
    loader: Loader,
) -> None:
    """Option by option: the list itself stays that of the file."""
    config, warnings = loader.load(
        {"channel": {"namespaces": [CHAT, {"name": "chat_log"}]}},
        {
            "TOCSIN_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE": "8",
            "CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE": "9",
            "CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_LOG_PRESENCE": "1",
            "CENTRIFUGO_CHANNEL_NAMESPACES_NONE_PRESENCE": "1",
            "CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_MAP_MODE": "x",
        },
    )
    chat, log = config.channel.namespaces
    assert (chat.history_size, chat.history_ttl, log.presence) == (8, 60.0, True)
    told = "\n".join(warnings)
    assert "CENTRIFUGO_CHANNEL_NAMESPACES_NONE_PRESENCE belongs to no" in told
    assert "CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_MAP_MODE" in told


def test_an_own_variable_for_no_namespace_is_an_error(loader: Loader) -> None:
    """Its author wanted something that would not happen."""
    variable = "TOCSIN_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZ"
    faults = loader.faults({"channel": {"namespaces": [CHAT]}}, {variable: "1"})
    assert faults == {variable: "belongs to no namespace and option"}


WRONG: list[tuple[Any, dict[str, str]]] = [
    ("[", {"channel.namespaces": "must be a list of objects with a name"}),
    ([1], {"channel.namespaces": "must be a list of objects with a name"}),
    (
        [{"presence": True}, {"name": "a"}, {"name": "a b"}],
        {f"channel.namespaces[{number}]": "must have a name" for number in range(3)},
    ),
    (
        [CHAT, CHAT],
        {"channel.namespaces": '"chat" is there twice'},
    ),
    (
        [{**CHAT, "history_sizes": 1}],
        {"channel.namespaces[chat].history_sizes": "did you mean history_size?"},
    ),
    (
        [{**CHAT, "history_size": "x", "presence": "perhaps"}],
        {
            "channel.namespaces[chat].history_size": "whole number",
            "channel.namespaces[chat].presence": "true or false",
        },
    ),
    (
        [{"name": "chat", "subscribe_proxy_enabled": True}],
        {
            "channel.namespaces[chat].subscribe_proxy_enabled": (
                "without asking the back end"
            )
        },
    ),
    (
        [
            {"name": "chat", "subscribe_proxy_enabled": True},
            {"name": "news", "subscribe_proxy_enabled": False},
            {"name": "talk", "proxy_publish": True},
        ],
        {
            "channel.namespaces[chat].subscribe_proxy_enabled": "back end",
            "channel.namespaces[talk].publish_proxy_enabled": "back end",
        },
    ),
    (
        [{"name": "chat", "allowed_delta_types": ["vcdiff"]}],
        {"channel.namespaces[chat].allowed_delta_types.0": "must be 'fossil'"},
    ),
    (
        [{"name": "chat", "force_recovery_mode": "some"}],
        {"channel.namespaces[chat].force_recovery_mode": "must be"},
    ),
    (
        [{"name": "chat", "publication_data_format": "xml"}],
        {"channel.namespaces[chat].publication_data_format": "must be"},
    ),
]


@pytest.mark.parametrize(("namespaces", "expected"), WRONG, ids=str)
def test_namespaces_that_cannot_be_read(
    loader: Loader, namespaces: object, expected: dict[str, str]
) -> None:
    """Every fault at once, each with the namespace it is in."""
    faults = loader.faults({"channel": {"namespaces": namespaces}})
    assert sorted(faults) == sorted(expected)
    for path, words in expected.items():
        assert words in faults[path], faults


OPTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"history_size": 1}, "history_ttl", "together with history_size"),
    ({"history_ttl": "1s"}, "history_size", "together with history_ttl"),
    ({"history_size": 1, "history_ttl": "1.5s"}, "history_ttl", "whole seconds"),
    ({"history_meta_ttl": "1.5s"}, "history_meta_ttl", "whole seconds"),
    (
        {"history_size": 1, "history_ttl": "2h", "history_meta_ttl": "1h"},
        "history_ttl",
        "is more than history_meta_ttl, 1h",
    ),
    (
        {"history_size": 1, "history_ttl": "800h"},
        "history_ttl",
        "is more than history_meta_ttl, 720h",
    ),
    ({"force_recovery": True}, "force_recovery", "needs history_size"),
    ({"allow_recovery": True}, "allow_recovery", "needs history_size"),
    ({"auto_cache_recover": True}, "auto_cache_recover", "needs force_recovery"),
    (
        {
            "history_size": 1,
            "history_ttl": "1s",
            "force_recovery": True,
            "auto_cache_recover": True,
        },
        "auto_cache_recover",
        "force_recovery_mode cache",
    ),
]


@pytest.mark.parametrize(("options", "key", "words"), OPTIONS, ids=str)
def test_options_that_contradict_each_other(
    loader: Loader, options: dict[str, Any], key: str, words: str
) -> None:
    """In a namespace and without one alike."""
    inside = loader.faults({"channel": {"namespaces": [{"name": "chat", **options}]}})
    assert list(inside) == [f"channel.namespaces[chat].{key}"]
    assert words in inside[f"channel.namespaces[chat].{key}"]
    outside = loader.faults({"channel": {"without_namespace": options}})
    assert list(outside) == [f"channel.without_namespace.{key}"]


SECTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {
            "client": {
                "subscribe_to_user_personal_channel": {
                    "enabled": True,
                    "personal_channel_namespace": "own",
                }
            }
        },
        "client.subscribe_to_user_personal_channel.personal_channel_namespace",
    ),
    (
        {
            "channel": {"user_boundary": ""},
            "client": {"subscribe_to_user_personal_channel": {"enabled": True}},
        },
        "client.subscribe_to_user_personal_channel.enabled",
    ),
    ({"client": {"ping_interval": "8s"}}, "client.pong_timeout"),
    (
        {"client": {"token": {"audience": "a", "audience_regex": "b"}}},
        "client.token.audience_regex",
    ),
    (
        {"client": {"subscription_token": {"issuer": "a", "issuer_regex": "b"}}},
        "client.subscription_token.issuer_regex",
    ),
    (
        {"client": {"token": {"hmac_previous_secret_key": "a"}}},
        "client.token.hmac_previous_secret_key",
    ),
    (
        {"client": {"token": {"jwks_public_endpoint": "ftp://x"}}},
        "client.token.jwks_public_endpoint",
    ),
    ({"client": {"token": {"user_id_claim": "a-b"}}}, "client.token.user_id_claim"),
    (
        {"push_notifications": {"queue": {"redis": {"reuse_from_engine": True}}}},
        "push_notifications.queue.redis.reuse_from_engine",
    ),
    (
        {
            "engine": {"type": "redis"},
            "push_notifications": {
                "queue": {"redis": {"reuse_from_engine": True, "address": "h:1"}}
            },
        },
        "push_notifications.queue.redis.reuse_from_engine",
    ),
    ({"engine": {"type": "tarantool"}}, "engine.type"),
    (
        {"engine": {"redis": {"cluster_address": ["h:1"]}}},
        "engine.redis.cluster_address",
    ),
    (
        {"client": {"proxy": {"connect": {"enabled": True}}}},
        "client.proxy.connect.enabled",
    ),
]


@pytest.mark.parametrize(("content", "path"), SECTIONS, ids=str)
def test_sections_that_contradict_themselves(
    loader: Loader, content: dict[str, Any], path: str
) -> None:
    """Found at the start, with the key to change."""
    assert list(loader.faults(content)) == [path]


@pytest.mark.parametrize(
    ("redis", "urls"),
    [
        ({}, ["redis://127.0.0.1:6379"]),
        ({"address": "h:1"}, ["redis://h:1"]),
        ({"address": "tcp://h:1", "db": 3}, ["redis://h:1/3"]),
        (
            {"address": "h:1 rediss://x:y@z:2/4", "password": "p@", "db": 3},
            ["redis://:p%40@h:1/3", "rediss://x:y@z:2/4"],
        ),
        ({"address": ["h:1"], "user": "u"}, ["redis://u:@h:1"]),
        ({"address": "unix:///tmp/r.sock", "db": 3}, ["unix:///tmp/r.sock?db=3"]),
        (
            {"address": "unix:///r.sock?io_timeout=1s", "db": 3, "password": "p"},
            ["unix://:p@/r.sock?io_timeout=1s&db=3"],
        ),
        ({"address": "unix:///r.sock?db=1", "db": 3}, ["unix:///r.sock?db=1"]),
        ({"address": "redis://h?db=1", "db": 3}, ["redis://h?db=1"]),
        (
            {
                "address": "redis+sentinel://s:1?sentinel_master_name=m",
                "password": "p",
                "db": 3,
            },
            ["redis+sentinel://:p@s:1/3?sentinel_master_name=m"],
        ),
        (
            {"address": "redis+cluster://a:1?addr=b:2", "user": "u", "password": "p"},
            ["redis+cluster://u:p@a:1?addr=b:2"],
        ),
    ],
)
def test_addresses_of_the_engine(
    loader: Loader, redis: dict[str, Any], urls: list[str]
) -> None:
    """What an address says itself wins over the keys beside it."""
    config, _ = loader.load({"engine": {"type": "redis", "redis": redis}})
    assert list(config.engine.redis.urls) == urls


def test_the_queue_can_live_where_the_engine_does(loader: Loader) -> None:
    """Under its own prefix."""
    config, _ = loader.load(
        {
            "engine": {"type": "redis", "redis": {"address": "h:1", "password": "p"}},
            "push_notifications": {
                "enabled_providers": ["fcm"],
                "fcm": {"credentials_file": "f"},
                "queue": {"redis": {"reuse_from_engine": True}},
            },
        }
    )
    assert config.queue_kind == "redis"
    assert config.push_notifications.queue.redis.address == ("redis://:p@h:1",)
    shown = config.redacted()["push_notifications"]["queue"]["redis"]["address"]
    assert shown == ["redis://:***@h:1"]


@pytest.mark.parametrize(
    ("namespace", "is_refused"), [("CHAT", False), ("NEWS", True)], ids=str
)
def test_a_variable_switches_off_a_guard_of_its_own_namespace(
    loader: Loader, namespace: str, is_refused: bool
) -> None:
    """Another namespace's `false` says nothing about this one."""
    content = {
        "channel": {
            "without_namespace": {"publish_proxy_enabled": False},
            "namespaces": [
                {"name": "chat", "publish_proxy_enabled": True},
                {"name": "news"},
            ],
        }
    }
    variable = f"CENTRIFUGO_CHANNEL_NAMESPACES_{namespace}_PUBLISH_PROXY_ENABLED"
    environ = {variable: "false"}
    if is_refused:
        faults = loader.faults(content, environ)
        assert list(faults) == ["channel.namespaces[chat].publish_proxy_enabled"]
    else:
        _, warnings = loader.load(content, environ)
        assert any(variable in text for text in warnings)


def test_a_guard_without_namespace_is_not_a_namespaces(loader: Loader) -> None:
    """Nor does a namespace's `false` switch off the guard of all other channels."""
    content = {
        "channel": {
            "without_namespace": {"subscribe_proxy_enabled": True},
            "namespaces": [{"name": "chat", "subscribe_proxy_enabled": False}],
        }
    }
    path = "channel.without_namespace.subscribe_proxy_enabled"
    assert list(loader.faults(content)) == [path]


@pytest.mark.parametrize("in_environment", [False, True])
def test_the_old_address_of_the_connect_proxy_switched_it_on(
    loader: Loader, in_environment: bool
) -> None:
    """Who has it expects every connect to be asked about."""
    url = "http://backend"
    content = {} if in_environment else {"proxy_connect_endpoint": url}
    environ = {"CENTRIFUGO_PROXY_CONNECT_ENDPOINT": url} if in_environment else {}
    faults = loader.faults(content, environ)
    assert list(faults) == ["client.proxy.connect.enabled"]
    nested = {"client": {"proxy": {"connect": {"endpoint": url}}}}
    assert loader.load(nested)[1]


def test_a_variable_of_several_namespaces(loader: Loader) -> None:
    """Names that differ in signs only share their variables."""
    content = {"channel": {"namespaces": [{"name": "a_b"}, {"name": "a.b"}]}}
    variable = "CENTRIFUGO_CHANNEL_NAMESPACES_A_B_PRESENCE"
    config, _ = loader.load(content, {variable: "true"})
    assert [each.presence for each in config.channel.namespaces] == [True, True]
    proxy = "TOCSIN_CHANNEL_NAMESPACES_A_B_PUBLISH_PROXY_ENABLED"
    assert sorted(loader.faults(content, {proxy: "true"})) == [
        "channel.namespaces[a.b].publish_proxy_enabled",
        "channel.namespaces[a_b].publish_proxy_enabled",
    ]
