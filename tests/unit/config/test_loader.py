import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tocsin.config import Config, ConfigError, LoadedConfig, load_config

ACCEPTANCE = """
{"http_server":{"port":8000},"http_api":{"key":"k"},"grpc_api":{"port":10000,"key":"k"},
"database":{"postgresql":{"dsn":"postgresql://postgres@127.0.0.1:5432/postgres"}},
"push_notifications":{"enabled_providers":["fcm"],
"queue":{"type":"redis","redis":{"address":"127.0.0.1:6379"}},
"fcm":{"credentials_file":"sa.json","endpoint":"https://127.0.0.1:9443","ca_file":"ca.pem"}}}
"""

SEED_FCM = """
{"database": {"dsn": "postgresql://postgres:pass@127.0.0.1:5432/postgres"},
 "push_notifications": {
  "redis_address": "localhost:6379",
  "enabled_providers": ["fcm"],
  "fcm_credentials_file_path": "/path/to/service/account/credentials.json"}}
"""
SEED_HMS = """
{"database": {"dsn": "postgresql://postgres:pass@127.0.0.1:5432/postgres"},
 "push_notifications": {
  "redis_address": "localhost:6379",
  "enabled_providers": ["hms"],
  "hms_app_id": "<your_app_id>",
  "hms_app_secret": "<your_app_secret>"}}
"""
SEED_APNS = """
{"database": {"dsn": "postgresql://postgres:pass@127.0.0.1:5432/postgres"},
 "push_notifications": {
  "redis_address": "localhost:6379",
  "enabled_providers": ["apns"],
  "apns_endpoint": "development",
  "apns_bundle_id": "com.example.your_app",
  "apns_auth": "token",
  "apns_token_auth_key_path": "/path/to/auth/key/file.p8",
  "apns_token_key_id": "<your_key_id>",
  "apns_token_team_id": "your_team_id",
  "apns_cert_p12_path": "x", "apns_cert_p12_b64": "x", "apns_cert_p12_password": "x",
  "max_inactive_device_days": 60}}
"""


def keys_of(config: Config, provider: str) -> Any:
    """The provider's section, which has keys of its own."""
    return config.push_notifications.sections[provider]


class Files:
    """Writes configuration files and loads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(
        self,
        content: object = None,
        environ: Mapping[str, str] | None = None,
        **overrides: object,
    ) -> LoadedConfig:
        path = None
        if content is not None:
            path = self._folder / "c.json"
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text)
        flags = {name.replace("__", "."): value for name, value in overrides.items()}
        return load_config(
            str(path) if path else None, environ=environ or {}, overrides=flags
        )

    def faults(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            self.load(*args, **kwargs)
        return {fault.path: fault.message for fault in caught.value.faults}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_configuration_of_the_acceptance_run_loads(files: Files) -> None:
    """PostgreSQL, Redis and FCM, no worker inside, nothing to warn of."""
    loaded = files.load(ACCEPTANCE)
    config = loaded.config
    push = config.push_notifications
    assert loaded.warnings == []
    assert config.database.kind == "postgresql"
    assert config.queue_kind == "redis"
    assert not config.worker_embedded
    assert push.enabled
    assert push.enabled_providers == ("fcm",)
    assert push.queue.redis.address == ("127.0.0.1:6379",)
    assert keys_of(config, "fcm").endpoint == "https://127.0.0.1:9443"
    assert config.grpc_api.key.get_secret_value() == "k"
    assert config.http_api.key.get_secret_value() == "k"


def test_the_embedded_form_of_the_acceptance_run_loads(files: Files) -> None:
    """SQLite as database and queue puts the worker into `serve`."""
    content = json.loads(ACCEPTANCE)
    content["database"] = {"sqlite": {"path": "x.db"}}
    content["push_notifications"]["queue"] = {"type": "database"}
    config = files.load(content).config
    assert (config.database.kind, config.queue_kind) == ("sqlite", "sqlite")
    assert config.worker_embedded


def test_the_documents_fcm_example_loads_by_its_old_names(files: Files) -> None:
    """Flat names mean what the nested ones mean, and each is reported once."""
    loaded = files.load(SEED_FCM)
    push = loaded.config.push_notifications
    assert loaded.config.database.postgresql.dsn.startswith("postgresql://postgres:")
    assert (
        keys_of(loaded.config, "fcm").credentials_file
        == "/path/to/service/account/credentials.json"
    )
    assert push.queue.redis.address == ("localhost:6379",)
    assert loaded.config.queue_kind == "redis"
    assert len(loaded.warnings) == 3
    assert all(" is the old name of " in text for text in loaded.warnings)


def test_the_documents_database_queue_example_loads(files: Files) -> None:
    """`queue_engine: database` is the configured database."""
    content = json.loads(SEED_FCM)
    del content["push_notifications"]["redis_address"]
    content["push_notifications"]["queue_engine"] = "database"
    config = files.load(content).config
    assert config.queue_kind == "postgresql"
    assert config.queue_dsn == config.database.postgresql.dsn


def test_the_documents_hms_example_loads(files: Files) -> None:
    """Id and secret under their old names; both are needed."""
    hms = keys_of(files.load(SEED_HMS).config, "hms")
    assert hms.app_id == "<your_app_id>"
    assert hms.app_secret.get_secret_value() == "<your_app_secret>"
    bare = json.loads(SEED_HMS)
    del bare["push_notifications"]["hms_app_secret"]
    assert files.faults(bare) == {
        "push_notifications.hms.app_secret": "must be set, since hms is enabled"
    }


def test_the_documents_apns_example_loads(files: Files) -> None:
    """Every old name of key and certificate means what the new one means."""
    apns = keys_of(files.load(SEED_APNS).config, "apns")
    assert (apns.endpoint, apns.bundle_id) == ("development", "com.example.your_app")
    assert apns.resolved_auth_type == "token"
    assert apns.token_key_file == "/path/to/auth/key/file.p8"
    assert (apns.token_key_id, apns.token_team_id) == ("<your_key_id>", "your_team_id")
    assert apns.cert_p12_file == "x"
    assert apns.cert_p12_b64.get_secret_value() == "x"
    assert apns.cert_p12_password.get_secret_value() == "x"


TOKEN = {
    "bundle_id": "b",
    "token_key_file": "f",
    "token_key_id": "k",
    "token_team_id": "t",
}


@pytest.mark.parametrize(
    ("section", "faults"),
    [
        (TOKEN, set()),
        ({"cert_p12_file": "f"}, set()),
        ({"auth_type": "cert", "cert_p12_b64": "x"}, set()),
        ({**TOKEN, "endpoint": "https://10.0.0.1:2197"}, set()),
        (
            {},
            {"bundle_id", "token_key_id", "token_team_id", "token_key_file"},
        ),
        ({**TOKEN, "token_key_pem": "x"}, {"token_key_file"}),
        ({"auth_type": "cert"}, {"cert_p12_file"}),
        (
            {"auth_type": "cert", "cert_p12_file": "f", "cert_p12_b64": "x"},
            {"cert_p12_file"},
        ),
        ({"auth_type": "jwt", **TOKEN}, {"auth_type"}),
        ({**TOKEN, "endpoint": "sandbox"}, {"endpoint"}),
        ({**TOKEN, "endpoint": "http://127.0.0.1:1"}, {"endpoint"}),
        ({**TOKEN, "endpoint": "https://x/3/device"}, {"endpoint"}),
        ({**TOKEN, "transport": "pigeon"}, {"transport"}),
        ({**TOKEN, "tokens_batch_size": 0}, {"tokens_batch_size"}),
        ({**TOKEN, "max_connections": 101}, {"max_connections"}),
    ],
)
def test_what_apns_needs(
    files: Files, section: dict[str, object], faults: set[str]
) -> None:
    """One credential, complete and given once; every fault is named by its key."""
    content = json.loads(SEED_FCM)
    content["push_notifications"]["enabled_providers"] = ["apns"]
    content["push_notifications"]["apns"] = section
    found = files.faults(content) if faults else {}
    assert found.keys() == {f"push_notifications.apns.{key}" for key in faults}
    if not faults:
        assert keys_of(files.load(content).config, "apns").endpoint


def test_no_configuration_at_all_is_a_sqlite_file(files: Files) -> None:
    """With nothing given the database is tocsin.db, and push is off."""
    loaded = files.load(environ={"PATH": "/bin", "TOCSIN_PORT": ""})
    assert loaded.is_default
    assert loaded.config.database.kind == "sqlite"
    assert loaded.config.database.sqlite.path == "tocsin.db"
    assert loaded.config.queue_kind is None


def test_flags_alone_do_not_take_the_default_database_away(files: Files) -> None:
    """Another port is still "no configuration"."""
    loaded = files.load(http_server__port="8001")
    assert loaded.config.database.kind == "sqlite"
    assert loaded.config.http_server.port == 8001


@pytest.mark.parametrize("content", [{}, {"grpc_api": {"key": "k"}}])
def test_a_configuration_without_database_has_none(
    files: Files, content: object
) -> None:
    """An empty file is a configuration, and it names no database."""
    loaded = files.load(content)
    assert not loaded.is_default
    assert loaded.config.database.kind is None
    assert loaded.config.database.enabled is False


def test_flags_go_over_environment_over_published_over_file(files: Files) -> None:
    """Each source in turn overrides the one below it, key by key."""
    content = {"grpc_api": {"port": 1, "address": "file"}, "log": {"level": "error"}}
    published = {"CENTRIFUGO_GRPC_API_PORT": "2"}
    ours = {"TOCSIN_GRPC_API_PORT": "3"}
    assert files.load(content).config.grpc_api.port == 1
    assert files.load(content, published).config.grpc_api.port == 2
    assert files.load(content, published | ours).config.grpc_api.port == 3
    loaded = files.load(content, published | ours, grpc_api__port=4)
    assert loaded.config.grpc_api.port == 4
    assert loaded.config.grpc_api.address == "file"
    assert loaded.origins["grpc_api.port"] == "--grpc_api.port"
    assert loaded.warnings == []


def test_a_flag_that_was_not_given_changes_nothing(files: Files) -> None:
    """`None` is how a parser says that an option was left out."""
    loaded = files.load({"grpc_api": {"port": 1}}, grpc_api__port=None)
    assert loaded.config.grpc_api.port == 1


def test_variables_carry_every_kind_of_value(files: Files) -> None:
    """Bools, numbers, durations, lists, objects and secrets come from text."""
    config = files.load(
        {},
        {
            "TOCSIN_GRPC_API_REFLECTION": "F",
            "TOCSIN_WORKER_CONCURRENCY": "8",
            "TOCSIN_SHUTDOWN_TIMEOUT": "1m",
            "TOCSIN_PUSH_NOTIFICATIONS_ENABLED_PROVIDERS": '["fcm"]',
            "TOCSIN_PUSH_NOTIFICATIONS_QUEUE_REDIS_ADDRESS": "a:1",
            "TOCSIN_ENGINE_REDIS_ADDRESS": "a:1, b:2",
            "TOCSIN_PUSH_NOTIFICATIONS_FCM": '{"credentials_file": "sa.json"}',
            "TOCSIN_GRPC_API_KEY": "secret",
        },
    ).config
    push = config.push_notifications
    assert config.grpc_api.reflection is False
    assert config.worker.concurrency == 8
    assert config.shutdown.timeout == 60.0
    assert push.enabled_providers == ("fcm",)
    assert push.queue.redis.address == ("a:1",)
    assert config.engine.redis.address == ("a:1", "b:2")
    assert keys_of(config, "fcm").credentials_file == "sa.json"
    assert config.grpc_api.key.get_secret_value() == "secret"


def test_an_empty_variable_counts_as_unset(files: Files) -> None:
    """A variable that a script left empty does not hide the file."""
    content = {"grpc_api": {"port": 1}}
    config = files.load(content, {"TOCSIN_GRPC_API_PORT": ""}).config
    assert config.grpc_api.port == 1


def test_old_variables_are_read_and_reported(files: Files) -> None:
    """The old flat names work in the environment too, under both prefixes."""
    loaded = files.load({}, {"TOCSIN_API_KEY": "a", "CENTRIFUGO_PORT": "7"})
    assert loaded.config.http_api.key.get_secret_value() == "a"
    assert loaded.config.http_server.port == 7
    assert sorted(loaded.warnings) == [
        "CENTRIFUGO_PORT is the old name of CENTRIFUGO_HTTP_SERVER_PORT",
        "TOCSIN_API_KEY is the old name of TOCSIN_HTTP_API_KEY",
    ]


def test_grpc_api_may_be_a_plain_bool(files: Files) -> None:
    """The older form switches the API, in a file and in a variable."""
    assert files.load({"grpc_api": False}).config.grpc_api.enabled is False
    assert files.load({}, {"CENTRIFUGO_GRPC_API": "0"}).config.grpc_api.enabled is False
    assert files.load({"grpc_api": {"enabled": False}}).config.grpc_api.enabled is False


def test_an_old_switch_may_hold_the_new_object(files: Files) -> None:
    """`grpc_api_tls` is a bool in the old form, and an object in a later one."""
    content = {"grpc_api_tls": {"enabled": True, "cert_pem": "c", "key_pem": "k"}}
    tls = files.load(content).config.grpc_api.tls
    assert (tls.enabled, tls.cert_pem) == (True, "c")


def test_names_with_dots_are_nested_names(files: Files) -> None:
    """`{"grpc_api.port": 1}` means what the nested form means."""
    assert files.load({"grpc_api.port": 1}).config.grpc_api.port == 1


def test_old_and_new_with_one_value_agree(files: Files) -> None:
    """Both spellings may stand side by side while they say the same."""
    content = {"grpc_api_port": "1", "grpc_api": {"port": 1}, "api_key": "k"}
    content["http_api"] = {"key": "k"}
    assert files.load(content).config.grpc_api.port == 1


def test_old_and_new_with_two_values_are_an_error(files: Files) -> None:
    """The fault names both spellings and quotes no value."""
    faults = files.faults({"api_key": "one", "http_api": {"key": "two"}})
    assert faults == {
        "http_api.key": (
            "api_key and http_api.key are set to different values; keep one"
        )
    }


def test_a_variable_overrides_an_old_name_in_the_file(files: Files) -> None:
    """Two sources do not contradict each other: the higher one wins."""
    loaded = files.load({"grpc_api_port": 1}, {"TOCSIN_GRPC_API_PORT": "2"})
    assert loaded.config.grpc_api.port == 2


@pytest.mark.parametrize(
    ("content", "path", "near"),
    [
        ({"grpc_api": {"prot": 1}}, "grpc_api.prot", "grpc_api.port"),
        ({"grcp_api": {"port": 1}}, "grcp_api", "grpc_api"),
        ({"grpc_api_prt": 1}, "grpc_api_prt", "grpc_api.port"),
        ({"credentials_file": "x"}, "credentials_file", "fcm.credentials_file"),
        ({"websocket": {"compresion": 1}}, "websocket.compresion", ".compression"),
        ({"qqqqqqqq": 1}, "qqqqqqqq", "docs/reference/configuration.md"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(
    files: Files, content: object, path: str, near: str
) -> None:
    """A slip of the pen is not ignored, and the fault says what was meant."""
    faults = files.faults(content)
    assert list(faults) == [path]
    assert near in faults[path]


def test_an_unknown_own_variable_is_an_error(files: Files) -> None:
    """The library would ignore it in silence; the loader does not."""
    faults = files.faults({}, {"TOCSIN_GRPC_PORT": "1"})
    assert faults == {
        "TOCSIN_GRPC_PORT": "is not known; did you mean TOCSIN_GRPC_API_PORT?"
    }


def test_an_unknown_published_variable_is_a_warning(files: Files) -> None:
    """Variables of the other server may be around for reasons of its own."""
    loaded = files.load({}, {"CENTRIFUGO_GRPC_PORT": "1", "CENTRIFUGO_VAR_X": "1"})
    (warning,) = loaded.warnings
    assert "CENTRIFUGO_GRPC_PORT is not known and has no effect" in warning
    assert "did you mean CENTRIFUGO_GRPC_API_PORT?" in warning


def test_own_keys_are_not_read_under_the_published_prefix(files: Files) -> None:
    """Only names that the published server has are taken with its prefix."""
    loaded = files.load({}, {"CENTRIFUGO_WORKER_PORT": "9"})
    assert loaded.config.worker.port == 0
    assert "CENTRIFUGO_WORKER_PORT is not known" in loaded.warnings[0]


def test_variables_of_a_kubernetes_service_are_left_alone(files: Files) -> None:
    """A service named `tocsin` puts these into every container of its namespace."""
    loaded = files.load(
        environ={
            "TOCSIN_SERVICE_HOST": "10.0.0.1",
            "TOCSIN_SERVICE_PORT": "8000",
            "TOCSIN_SERVICE_PORT_GRPC": "10000",
            "TOCSIN_PORT": "tcp://10.0.0.1:8000",
            "TOCSIN_PORT_8000_TCP": "tcp://10.0.0.1:8000",
            "TOCSIN_PORT_8000_TCP_ADDR": "10.0.0.1",
            "TOCSIN_GRPC_SERVICE_HOST": "10.0.0.1",
            "TOCSIN_GRPC_API_PORT": "tcp://10.0.0.1:10000",
        }
    )
    assert loaded.is_default
    assert loaded.config.http_server.port == 8000
    assert loaded.config.grpc_api.port == 10000


def test_known_names_that_are_not_built_are_warnings(files: Files) -> None:
    """A configuration of the published server loads, and says what has no effect."""
    loaded = files.load(
        {
            "client": {"queue_initial_cap": 2, "allowed_origins": ["*"]},
            "admin": {"enabled": True, "password": "p", "secret": "s"},
            "channel": {
                "namespaces": [{"name": "chat", "keep_latest_publication": True}]
            },
            "admin_web_path": "r",
            "proxies": [],
        },
        {"CENTRIFUGO_RPC_NAMESPACES_N_PROXY_ENABLED": "1"},
    )
    text = "\n".join(loaded.warnings)
    for name in ("client.queue_initial_cap", "admin.password", "proxies"):
        assert name in text
    assert "channel.namespaces[chat].keep_latest_publication" in text
    assert "admin_web_path (admin.web_path)" in text
    assert "rpc.namespaces" in text
    assert all("no effect" in warning for warning in loaded.warnings)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (
            {"http_server": {"internal_tls": {"enabled": True}}},
            "http_server.internal_tls.enabled",
        ),
        ({"tls_autocert": True}, "http_server.tls_autocert.enabled"),
        ({"grpc_api": {"jwks": {"enabled": True}}}, "grpc_api.jwks.enabled"),
        ({"http_api": {"jwks": {"endpoint": "x"}}}, "http_api.jwks.endpoint"),
        (
            {"push_notifications": {"redis_password": "p"}},
            "push_notifications.queue.redis.password",
        ),
        (
            {"database": {"postgresql": {"tls": {"enabled": "true"}}}},
            "database.postgresql.tls.enabled",
        ),
    ],
)
def test_what_must_not_be_ignored_is_an_error(
    files: Files, content: object, path: str
) -> None:
    """A guard of a door that stands, not built yet, stops the start."""
    assert "not available in this release" in files.faults(content)[path]


@pytest.mark.parametrize("off", [False, "false", "0", "", 0, []])
def test_a_guard_that_is_switched_off_is_only_a_warning(
    files: Files, off: object
) -> None:
    """Nothing is lost where the guard was not asked for."""
    loaded = files.load({"http_server": {"internal_tls": {"enabled": off}}})
    assert "http_server.internal_tls.enabled" in loaded.warnings[0]


def test_a_higher_source_can_switch_a_guard_off(files: Files) -> None:
    """What counts is the value after all sources are joined."""
    content = {"grpc_api": {"jwks": {"enabled": True}}}
    files.load(content, {"CENTRIFUGO_GRPC_API_JWKS_ENABLED": "false"})


@pytest.mark.parametrize("days", [60, "60"])
def test_days_of_the_old_name_become_a_duration(files: Files, days: object) -> None:
    """The old key counted days; both together must mean the same."""
    old = {"max_inactive_device_days": days}
    loaded = files.load({"push_notifications": old})
    push = loaded.config.push_notifications
    assert push.max_inactive_device_interval == 60 * 86_400
    both = {**old, "max_inactive_device_interval": "1440h"}
    files.load({"push_notifications": both})
    faults = files.faults(
        {"push_notifications": {**both, "max_inactive_device_interval": "1h"}}
    )
    assert list(faults) == ["push_notifications.max_inactive_device_interval"]


@pytest.mark.parametrize("days", ["many", 1.5, -1])
def test_days_that_are_no_count(files: Files, days: object) -> None:
    """What is no number of days is named, not guessed."""
    faults = files.faults({"push_notifications": {"max_inactive_device_days": days}})
    assert len(faults) == 1
    assert "max_inactive_device" in next(iter(faults))


def test_a_dry_run_needs_no_credentials(files: Files) -> None:
    """Nobody is contacted, so no key has to lie there."""
    push = {"enabled_providers": ["fcm"], "dry_run": True, "dry_run_latency": "20ms"}
    database = {"sqlite": {"path": "t.db"}}
    loaded = files.load({"push_notifications": push, "database": database})
    assert loaded.config.push_notifications.dry_run_latency == 0.02


def test_reading_from_replicas_needs_some(files: Files) -> None:
    """Where no replica is named, or the database is none that has them, it is said."""
    postgresql: dict[str, object] = {"dsn": "postgresql://u@h/d"}
    content = {
        "push_notifications": {"read_from_replica": True},
        "database": {"postgresql": postgresql},
    }
    faults = files.faults(content)
    assert list(faults) == ["push_notifications.read_from_replica"]
    postgresql["replica_dsn"] = ["host=r1 dbname=d", "postgresql://u@r2/d"]
    loaded = files.load(content)
    replicas = loaded.config.database.postgresql.replica_dsn
    assert replicas == ("host=r1 dbname=d", "postgresql://u@r2/d")


def test_all_faults_are_reported_at_once(files: Files, tmp_path: Path) -> None:
    """Wrong names, wrong values and contradictions stand in one list with sources."""
    content = {
        "grpc_api": {"prot": 1, "port": "x", "tls": {"enabled": True}},
        "http_server": "8000",
        "shutdown": {"timeout": 30},
        "worker": {"port": 70_000, "concurrency": 0},
        "push_notifications": {"enabled": True, "fcm": {"transport": "smoke"}},
    }
    with pytest.raises(ConfigError) as caught:
        files.load(content, {"TOCSIN_LOG_LEVEL": "loud"})
    lines = str(caught.value).splitlines()
    assert {fault.path for fault in caught.value.faults} == {
        "grpc_api.prot",
        "grpc_api.port",
        "grpc_api.tls.cert_pem",
        "grpc_api.tls.key_pem",
        "http_server",
        "shutdown.timeout",
        "worker.port",
        "worker.concurrency",
        "push_notifications.queue",
        "push_notifications.fcm.transport",
        "log.level",
    }
    assert len(lines) == 11
    file = tmp_path / "c.json"
    assert f"worker.port: must be at most 65535, not 70000 [{file}]" in lines
    assert any(line.endswith("[TOCSIN_LOG_LEVEL]") for line in lines)


def test_a_fault_does_not_show_a_secret(files: Files) -> None:
    """Values of secret keys and of texts with passwords inside are left out."""
    content = {
        "grpc_api": {"key": 12345678},
        "database": {"dsn": "mysql://u:hunter2@h/x"},
        "push_notifications": {"queue": {"redis": {"address": "redis//:hunter2@h"}}},
    }
    with pytest.raises(ConfigError) as caught:
        files.load(content)
    assert len(caught.value.faults) == 3
    assert "12345678" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_value_brings_no_faults_that_only_follow_from_it(
    files: Files,
) -> None:
    """A bad Redis address is one fault, not also a missing queue."""
    content = json.loads(ACCEPTANCE)
    content["push_notifications"]["queue"]["redis"]["address"] = "::"
    assert list(files.faults(content)) == ["push_notifications.queue.redis.address"]


def test_a_missing_file_does_not_hide_other_faults(tmp_path: Path) -> None:
    """The file's fault and the environment's stand together."""
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "no.json"), environ={"TOCSIN_PORT": "x"})
    assert len(caught.value.faults) == 2


def test_a_yaml_object_inside_itself_is_a_fault(tmp_path: Path) -> None:
    """Anchors can build a loop; it is reported, not followed for ever."""
    path = tmp_path / "c.yaml"
    path.write_text("grpc_api: &a\n  tls: *a\n")
    with pytest.raises(ConfigError):
        load_config(str(path), environ={})


def test_yaml_and_toml_load_as_json_does(tmp_path: Path) -> None:
    """The three formats come to the same configuration."""
    loaded = []
    texts = {
        "c.json": ACCEPTANCE,
        "c.yaml": yaml.safe_dump(json.loads(ACCEPTANCE)),
        "c.toml": """
            http_server.port = 8000
            http_api.key = "k"
            [grpc_api]
            port = 10000
            key = "k"
            [database.postgresql]
            dsn = "postgresql://postgres@127.0.0.1:5432/postgres"
            [push_notifications]
            enabled_providers = ["fcm"]
            queue = {type = "redis", redis = {address = "127.0.0.1:6379"}}
            [push_notifications.fcm]
            credentials_file = "sa.json"
            endpoint = "https://127.0.0.1:9443"
            ca_file = "ca.pem"
        """,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        loaded.append(load_config(str(tmp_path / name), environ={}).config)
    assert loaded[0] == loaded[1] == loaded[2]


def test_http_has_doors_of_its_own(files: Files) -> None:
    """Internal address and port follow the public ones until they are set."""
    http = files.load({"http_server": {"address": "::1", "port": 1}}).config.http_server
    assert http.internal_at == http.public_at == ("::1", 1)
    http = files.load({"internal_port": "9000"}).config.http_server
    assert (http.public_at, http.internal_at) == (("", 8000), ("", 9000))
    section = {"address": "a", "internal_address": "b"}
    http = files.load({"http_server": section}).config.http_server
    assert http.internal_at == ("b", 8000)


@pytest.mark.parametrize("prefix", ["/api", "/a/b-c", "/", "", "/api/"])
def test_a_prefix_is_a_path(files: Files, prefix: str) -> None:
    """A prefix may be empty; a slash at its end counts for nothing."""
    config = files.load({"http_api": {"handler_prefix": prefix}}).config
    assert config.http_api.handler_prefix == prefix.rstrip("/")


@pytest.mark.parametrize("prefix", ["api", "/a b", "/{x}", "//", "/a?b"])
def test_what_is_no_path_is_no_prefix(files: Files, prefix: str) -> None:
    """Anything else is an error by its key."""
    faults = files.faults({"http_api": {"handler_prefix": prefix}})
    assert "must begin with /" in faults["http_api.handler_prefix"]


@pytest.mark.parametrize("door", ["http_server", "grpc_api"])
def test_tls_needs_its_parts(files: Files, door: str) -> None:
    """TLS without certificate and key, and a client CA without TLS, are errors."""
    faults = files.faults({door: {"tls": {"enabled": True}}})
    assert {f"{door}.tls.cert_pem", f"{door}.tls.key_pem"} <= set(faults)
    faults = files.faults({door: {"tls": {"client_ca_pem": "ca.pem"}}})
    assert "no client certificate" in faults[f"{door}.tls.client_ca_pem"]


def test_the_internal_port_is_not_that_of_grpc(files: Files) -> None:
    """Two doors on one port are an error that names both."""
    faults = files.faults({"http_server": {"internal_port": 10000}})
    assert "http_server.internal_port" in faults["grpc_api.port"]


@pytest.mark.parametrize(
    "rooms", [["hub=debug", "delivery=Warn"], "hub=debug, delivery=warning"]
)
def test_rooms_have_levels_of_their_own(files: Files, rooms: object) -> None:
    """`log.rooms` is a list, or text; levels are read as `log.level` is."""
    by_room = files.load({"log": {"rooms": rooms}}).config.log.by_room()
    assert by_room == {"hub": "debug", "delivery": "warning"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "hubs=debug",
            r"log\.rooms.*must be room=level; the rooms are .*hub",
        ),
        ("debug", r"log\.rooms.*must be room=level"),
        ("hub", r"log\.rooms.*the level of hub must be one of debug, info"),
        ("hub=loud", r"log\.rooms.*the level of hub must be one of debug, info"),
    ],
)
def test_a_room_or_level_that_does_not_exist_is_named(
    files: Files, said: str, words: str
) -> None:
    """A slip in a room's name would silence nothing and show nothing."""
    with pytest.raises(ConfigError, match=words):
        files.load({"log": {"rooms": [said]}})
