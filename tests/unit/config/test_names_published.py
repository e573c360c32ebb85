"""Configurations written for the published server, of its releases old and new."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import ConfigError, LoadedConfig, load_config, names
from tocsin.config.channel import Namespace
from tocsin.config.root import built

DATA = Path(__file__).parents[2] / "data"
"""`published_defaults.*` is what `defaultconfig` of the server, 6.9.1, writes."""

Load = Callable[..., LoadedConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_it(content: object = None, **environ: str) -> LoadedConfig:
        path = tmp_path / "c.json"
        path.write_text(json.dumps(content or {}))
        return load_config(str(path), environ=environ)

    return load_it


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


DEFAULTS = dict(flatten(json.loads((DATA / "published_defaults.json").read_text())))


@pytest.mark.parametrize("ending", ["json", "yaml", "toml"])
def test_the_default_configuration_is_taken_as_it_is(ending: str) -> None:
    """In every format that the server writes it in; one line tells what is ignored."""
    loaded = load_config(str(DATA / f"published_defaults.{ending}"), environ={})
    (warning,) = loaded.warnings
    assert len(warning) < 300
    assert "at the default" in warning
    assert loaded.config.http_server.internal_port == 0
    assert loaded.config.grpc_api.enabled is False


@pytest.mark.parametrize("section", sorted({path.split(".")[0] for path in DEFAULTS}))
def test_every_default_has_a_type_that_is_taken(section: str, load: Load) -> None:
    """Section by section, with dots in a file and as variables."""
    found = {p: v for p, v in DEFAULTS.items() if p.split(".")[0] == section}
    load(found)
    environ = {}
    for path, value in found.items():
        if isinstance(value, bool | list | dict):
            value = json.dumps(value)
        if value is not None:  # a variable has no such value
            environ[f"CENTRIFUGO_{names.env_name(path)}"] = str(value)
    load(None, **environ)


PRO = [
    "client.write_delay",
    "client.max_messages_in_frame",
    "client.write_with_timer",
    "client.queue_shrink_delay",
    "client.reply_without_queue",
    "client.batch_periodic_events",
    "client.rate_limit.client_command.enabled",
    "client.rate_limit.client_command.total.buckets",
    "client.rate_limit.user_command.publish.namespace_overrides",
    "client.rate_limit.redis_user_command.rpc.method_overrides",
    "client.rate_limit.redis_user_command.redis.reuse_from_engine",
    "client.rate_limit.client_error.total.buckets",
    "client.rate_limit.ip_connect.max_concurrent_per_ip",
    "client.token.jwks.providers",
    "client.token.labels_from_claim",
    "client.token.meta_from_claim",
    "channel.patterns",
    "channel.proxy.state.endpoint",
    "channel.proxy.cache_empty.endpoint",
    "client.proxy.connect.http.use_fast_client",
    "singleflight.enabled",
    "engine.redis.subscribe_on_replica",
    "engine.redis.presence_read_from_replica",
    "engine.redis.sharded_pub_sub_partitions",
    "engine.redis.use_precomputed_partition_tags",
    "engine.redis.group_sharded_pub_sub_by_node",
    "engine.redis.channel_state.num_partitions",
    "map_broker.redis.sharded_pub_sub_partitions",
    "map_broker.cache.enabled",
    "map_broker.postgres.replica.dsn",
    "broker.postgres.broker_fanout.type",
    "controller.redis.address",
    "controller.nats.url",
    "brokers",
    "presence_managers",
    "map_brokers",
    "shared_poll.notification.enabled",
    "shared_poll_relay.enabled",
    "prometheus.client_labels",
    "prometheus.channel_namespace_resolution",
    "prometheus.expose_transport_accept_protocol",
    "prometheus.additional_client_names",
    "opentelemetry.metrics",
    "sentry.dsn",
    "websocket.process_commands_off_read_loop",
    "websocket.compression_prepared_message_cache_size",
    "admin.oidc.enabled",
    "user_block.redis.address",
    "user_status.redis.address",
    "schemas",
    "license",
]
OPTIONS = [
    "pattern",
    "subscribe_cel",
    "publish_cel",
    "history_cel",
    "presence_cel",
    "broker_name",
    "presence_manager_name",
    "map.broker_name",
    "map.full_state_channel_prefix",
    "map.full_state_tick_interval",
    "batch_max_size",
    "batch_max_delay",
    "batch_flush_latest",
    "keep_latest_publication",
    "allow_channel_compaction",
    "client_publish_debounce_interval",
    "shared_position_sync",
    "state_proxy_enabled",
    "cache_empty_proxy_enabled",
    "client_publication_data_schemas",
    "client_publication_tags",
    "client_publication_exclude_client_info",
    "shared_poll.keep_latest_data",
    "shared_poll.notification.batch_max_size",
    "shared_poll.backpressure_max_interval",
]


def nest(path: str, value: object) -> dict[str, Any]:
    name, dot, rest = path.partition(".")
    return {name: nest(rest, value) if dot else value}


@pytest.mark.parametrize("path", PRO)
def test_a_key_of_the_commercial_server_is_one_short_warning(
    path: str, load: Load
) -> None:
    """It stops nothing; the line names it."""
    value = "hunter2" if path.endswith(("dsn", "license")) else "7"
    for loaded in (
        load(nest(path, value)),
        load(None, **{f"CENTRIFUGO_{names.env_name(path)}": value}),
    ):
        (warning,) = loaded.warnings
        assert path in warning
        assert "not built in this release" in warning
        assert len(warning) < 250
        assert "hunter2" not in warning


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_commercial_server_too(option: str, load: Load) -> None:
    """In a namespace, and for channels without one."""
    assert option not in Namespace.model_fields
    inside = {"name": "chat", **nest(option, "7")}
    (warning,) = load({"channel": {"namespaces": [inside]}}).warnings
    assert warning.startswith(f"channel.namespaces[chat].{option}: not built in this")
    path = f"channel.without_namespace.{option}"
    (warning,) = load(nest(path, "7")).warnings
    assert warning.startswith(f"{path}: not built in this release")


def test_a_namespace_has_one_line_for_all_that_is_not_built(load: Load) -> None:
    """Readable, with its name in front; another namespace has its own."""
    options = {"batch_max_size": 5, "keep_latest_publication": True}
    chat = {"name": "chat", **options, "map": {"mode": "recoverable"}}
    loaded = load({"channel": {"namespaces": [chat, {"name": "news", **options}]}})
    told = [warning.rpartition(" [")[0] for warning in loaded.warnings]
    words = "not built in this release, no effect: "
    both = "batch_max_size, keep_latest_publication"
    assert told == [
        f"channel.namespaces[chat]: {words}{both}, map.mode",
        f"channel.namespaces[news]: {words}{both}",
    ]


def test_a_name_is_in_one_table_only() -> None:
    """Old names, retired ones and today's do not overlap."""
    retired = set(names.retired())
    for table in (set(names.renamed()), set(names.published()), set(built())):
        assert not retired & table


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"broker": "nats"}, 'broker (broker.type): "nats" is not built in this'),
        ({"broker": {"type": "nats"}}, 'broker.type: "nats" is not built in this'),
        (
            {"proxy_http_headers": ["X-A"]},
            "http_headers of each proxy, as in client.proxy.connect.http_headers",
        ),
        ({"proxy_grpc_metadata": ["a"]}, "client.proxy.connect.grpc_metadata"),
        ({"granular_proxy_mode": True}, "it is now proxies"),
        ({"sockjs": True}, "is a name of older releases, and has no effect"),
        ({"tarantool_mode": "standalone"}, "and has no effect"),
        ({"presence_manager": {"type": "redis"}}, "presence is kept by engine.type"),
        (
            {"client": {"rate_limit": {"client_error": {"enabled": True}}}},
            "nothing is limited by it",
        ),
    ],
)
def test_what_is_not_built_says_what_holds_instead(
    content: object, words: str, load: Load
) -> None:
    """Old names lead to the new ones."""
    told = "\n".join(load(content).warnings)
    assert words in told
    assert all(len(line) < 250 for line in told.splitlines())


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("anonymous", "allow_subscribe_for_anonymous"),
        ("client_anonymous", "client.allow_anonymous_connect_without_token"),
        ("publish", "allow_publish_for_client"),
        ("subscribe_to_publish", "allow_publish_for_subscriber"),
        ("position", "force_positioning"),
        ("recover", "force_recovery"),
        ("protected", "allow_subscribe_for_client"),
        ("history_disable_for_client", "allow_history_for_client"),
        ("presence_disable_for_client", "allow_presence_for_client"),
        ("websocket_ping_interval", "client.ping_interval"),
        ("redis_read_timeout", "engine.redis.io_timeout"),
        ("redis_tls_skip_verify", "tls_insecure_skip_verify"),
    ],
)
def test_an_old_name_that_means_something_else_today_is_an_error_with_the_new_one(
    old: str, now: str, load: Load
) -> None:
    """Guessing would give rights, or take them."""
    with pytest.raises(ConfigError) as raised:
        load({old: True})
    assert f"{old}: is a name of older releases; it is now " in str(raised.value)
    assert now in str(raised.value)


def test_old_options_of_a_namespace_lead_to_the_new_ones(load: Load) -> None:
    """As those of all channels do."""
    chat = {"name": "chat", "publish": True, "anonymous": True}
    with pytest.raises(ConfigError) as raised:
        load({"channel": {"namespaces": [chat]}})
    assert "it is now allow_publish_for_client" in str(raised.value)
    assert "it is now allow_subscribe_for_anonymous" in str(raised.value)


def test_the_old_presence_ttl_is_read(load: Load) -> None:
    """It was renamed twice."""
    assert load({"presence_ttl": "90s"}).config.engine.redis.presence_ttl == 90


def test_a_section_that_holds_a_word_names_the_key_that_was_meant(load: Load) -> None:
    """`log: debug` is what many write."""
    with pytest.raises(ConfigError, match=r"did you mean log\.level"):
        load({"log": "debug"})
    with pytest.raises(ConfigError, match=r"did you mean presence_manager\.type"):
        load({"presence_manager": "redis"})


@pytest.mark.parametrize(
    ("path", "value", "is_default"),
    [
        ("broker.postgres.cleanup_interval", "1m0s", True),
        ("broker.postgres.cleanup_interval", "60s", True),
        ("broker.postgres.cleanup_interval", "2m", False),
        ("broker.redis.address", ["redis://127.0.0.1:6379"], True),
        ("broker.redis.address", ["redis://other:6379"], False),
        ("broker.postgres.num_shards", 8, True),
        ("broker.postgres.num_shards", 0, False),
        ("admin.enabled", False, True),
        ("admin.enabled", "true", False),
        ("client.write_delay", 0, True),
        ("proxies", [], True),
        ("proxies", [{}], False),
    ],
)
def test_a_default_asks_for_nothing(path: str, value: object, is_default: bool) -> None:
    """However it is written."""
    assert names.is_default(path, value) is is_default
