import json
from typing import Any

import pytest
from pydantic import ValidationError

from tocsin.config import Config
from tocsin.config.checks import find_contradictions
from tocsin.config.root import mask_passwords

DSN = "postgresql://u:p@h/x"
SQLITE = {"sqlite": {"path": "t.db"}}
POSTGRESQL = {"postgresql": {"dsn": DSN}}


def config(
    database: dict[str, Any] | None = None,
    queue: dict[str, Any] | None = None,
    **sections: Any,
) -> Config:
    push = {
        "enabled_providers": ["fcm"],
        "fcm": {"credentials_file": "sa.json"},
        "queue": queue or {},
    }
    return Config.model_validate(
        {"database": database or {}, "push_notifications": push, **sections}
    )


def faults(made: Config) -> list[str]:
    return [found.path for found in find_contradictions(made)]


@pytest.mark.parametrize(
    ("database", "queue", "kind"),
    [
        (SQLITE, {}, "sqlite"),
        (POSTGRESQL, {}, "postgresql"),
        (POSTGRESQL, {"redis": {"address": "h:1"}}, "redis"),
        ({}, {"redis": {"address": "h:1"}}, "redis"),
        (SQLITE, {"type": "database", "redis": {"address": "h:1"}}, "sqlite"),
        (POSTGRESQL, {"type": "database"}, "postgresql"),
        (SQLITE, {"type": "postgresql", "postgresql": {"dsn": DSN}}, "postgresql"),
        ({}, {"postgresql": {"dsn": DSN}}, "postgresql"),
        (POSTGRESQL, {"postgresql": {"reuse_from_database": True}}, "postgresql"),
    ],
)
def test_where_the_queue_lives(
    database: dict[str, Any], queue: dict[str, Any], kind: str
) -> None:
    """Redis when an address is set, else the database, unless the type says so."""
    made = config(database, queue)
    assert made.queue_kind == kind
    assert faults(made) == []
    assert made.worker_embedded is (kind == "sqlite")


@pytest.mark.parametrize(
    ("database", "queue", "path"),
    [
        ({}, {}, "push_notifications.queue"),
        ({}, {"type": "database"}, "push_notifications.queue"),
        (POSTGRESQL, {"type": "redis"}, "push_notifications.queue.redis.address"),
        (
            POSTGRESQL,
            {"type": "postgresql"},
            "push_notifications.queue.postgresql.dsn",
        ),
        (
            SQLITE,
            {"postgresql": {"reuse_from_database": True}},
            "push_notifications.queue.postgresql.dsn",
        ),
        (
            POSTGRESQL,
            {"postgresql": {"dsn": DSN, "reuse_from_database": True}},
            "push_notifications.queue.postgresql",
        ),
        (
            {**POSTGRESQL, "enabled": False},
            {"type": "database"},
            "push_notifications.queue",
        ),
    ],
)
def test_push_without_a_possible_queue_is_a_fault(
    database: dict[str, Any], queue: dict[str, Any], path: str
) -> None:
    """The fault stands at the key that has to be set."""
    assert faults(config(database, queue)) == [path]


def test_a_queue_of_its_own_has_its_own_dsn() -> None:
    """`queue_dsn` is the dsn to connect to, whichever key it came from."""
    own = "postgresql://q/q"
    assert config(POSTGRESQL, {"postgresql": {"dsn": own}}).queue_dsn == own
    assert config(POSTGRESQL, {"type": "database"}).queue_dsn == DSN
    assert config(POSTGRESQL, {"redis": {"address": "h:1"}}).queue_dsn == ""


def test_both_databases_are_a_fault() -> None:
    """Nobody could tell which one holds the devices."""
    assert faults(config(POSTGRESQL | SQLITE)) == ["database"]


def test_a_database_can_be_switched_on_and_off() -> None:
    """`enabled` alone means the default file; false wins over a dsn."""
    assert config({"enabled": True}).database.kind == "sqlite"
    assert config({"enabled": True}).database.sqlite.path == "tocsin.db"
    assert config({**POSTGRESQL, "enabled": False}).database.kind is None


def test_push_follows_its_providers_unless_told_otherwise() -> None:
    """Providers switch push on; `enabled: false` switches it off again."""
    assert config(SQLITE).push_notifications.enabled
    assert not Config().push_notifications.enabled
    off = Config.model_validate(
        {"push_notifications": {"enabled": False, "enabled_providers": ["fcm"]}}
    )
    assert not off.push_notifications.enabled
    assert off.queue_kind is None
    assert faults(off) == []


@pytest.mark.parametrize("embedded", [True, False])
def test_an_embedded_worker_can_be_forced(embedded: bool) -> None:
    """`worker.embedded` wins over what the queue implies."""
    worker = {"embedded": embedded}
    assert config(SQLITE, worker=worker).worker_embedded is embedded
    assert config(POSTGRESQL, worker=worker).worker_embedded is embedded


def test_fcm_needs_its_credentials() -> None:
    """A provider without its file would fail at the first send only."""
    made = Config.model_validate(
        {"database": SQLITE, "push_notifications": {"enabled_providers": "fcm"}}
    )
    assert faults(made) == ["push_notifications.fcm.credentials_file"]


def test_two_doors_need_two_ports() -> None:
    """One port for HTTP and gRPC is a fault where they would meet."""
    same = {"http_server": {"port": 1}, "grpc_api": {"port": 1}}
    assert faults(Config.model_validate(same)) == ["grpc_api.port"]
    same["grpc_api"]["enabled"] = False
    assert faults(Config.model_validate(same)) == []
    free = {"http_server": {"port": 0}, "grpc_api": {"port": 0}}
    assert faults(Config.model_validate(free)) == []


def test_client_certificates_without_tls_are_a_fault() -> None:
    """A guard that would not stand is not ignored."""
    made = Config.model_validate({"grpc_api": {"tls": {"client_ca_pem": "x"}}})
    assert faults(made) == ["grpc_api.tls.client_ca_pem"]


def test_the_first_retry_depends_on_the_provider() -> None:
    """FCM asks for ten seconds; a set value holds for all."""
    push = Config().push_notifications
    assert (push.first_delay_for("fcm"), push.first_delay_for("apns")) == (10.0, 1.0)
    set_for_all = Config.model_validate(
        {"push_notifications": {"retry": {"first_delay": "2s"}}}
    ).push_notifications
    assert set_for_all.first_delay_for("fcm") == 2.0


@pytest.mark.parametrize(("first_delay", "least_s"), [("2s", 2.0), ("30s", 10.0)])
def test_a_set_first_delay_only_shortens_the_least_one(
    first_delay: str, least_s: float
) -> None:
    """What FCM asks for stands, unless a person wants less."""
    retry = Config().push_notifications.retry
    assert (retry.least_delay_for("fcm"), retry.least_delay_for("apns")) == (10.0, 0.0)
    made = Config.model_validate(
        {"push_notifications": {"retry": {"first_delay": first_delay}}}
    )
    assert made.push_notifications.retry.least_delay_for("fcm") == least_s


@pytest.mark.parametrize("text", ["urgent", "fcm:urgent", "bulk:fcm", "gcm"])
def test_a_lane_that_is_none_is_a_fault(text: str) -> None:
    """It names the text, and the forms that there are."""
    with pytest.raises(ValidationError, match="is no lane; a lane is a priority"):
        Config.model_validate({"worker": {"lanes": ["bulk", text]}})


def test_a_lane_of_a_provider_that_is_not_sent_to_is_a_fault() -> None:
    """The worker would wait for nothing."""
    push = {"enabled_providers": ["fcm"], "dry_run": True}
    for lanes, found in ((["apns:bulk"], ["worker.lanes"]), (["fcm", "bulk"], [])):
        config = {"push_notifications": push, "worker": {"lanes": lanes}}
        made = Config.model_validate({**config, "database": {"sqlite": {"path": "x"}}})
        assert [each for each in faults(made) if each == "worker.lanes"] == found


def test_a_first_delay_above_the_longest_is_a_fault() -> None:
    """The doubling would go down."""
    made = Config.model_validate(
        {"push_notifications": {"retry": {"first_delay": "2s", "max_delay": "1s"}}}
    )
    assert faults(made) == ["push_notifications.retry.first_delay"]


@pytest.mark.parametrize(
    ("section", "key", "bad"),
    [
        ("fcm", "endpoint", "https://h/path"),
        ("fcm", "endpoint", "http://fcm.googleapis.com"),
        ("fcm", "endpoint", "h:1"),
        ("fcm", "endpoint", "https://h:99999"),
        ("fcm", "endpoint", "https://u:p@h"),
        ("fcm", "max_connections", 0),
        ("limits", "page_size", 0),
        ("retry", "takeover", "500ms"),
        ("retry", "max_delay", "0s"),
    ],
)
def test_values_out_of_range_are_refused(section: str, key: str, bad: object) -> None:
    """Each key says what it takes."""
    with pytest.raises(ValidationError):
        Config.model_validate({"push_notifications": {section: {key: bad}}})


def test_an_endpoint_on_loopback_may_be_plain() -> None:
    """Tests and the simulator may do without TLS; a last slash does not matter."""
    made = Config.model_validate(
        {"push_notifications": {"fcm": {"endpoint": "http://127.0.0.1:9/"}}}
    )
    fcm: Any = made.push_notifications.sections["fcm"]
    assert fcm.endpoint == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1:6379", "localhost:1", "[::1]:6379", "redis://:p@h:1/2"),
        *("rediss://h", "unix:///tmp/x", "redis+sentinel://h:1?sentinel_master_name=m"),
        "redis+cluster://h:1?addr=h2:1",
    ],
)
def test_forms_of_a_redis_address(address: str) -> None:
    """host:port and every URL form of the documents."""
    made = config({}, {"redis": {"address": address}})
    assert made.push_notifications.queue.redis.address == (address,)


def test_a_message_size_of_zero_is_the_default() -> None:
    """The published default is written 0 and means 4 MiB."""
    made = Config.model_validate({"grpc_api": {"max_receive_message_size": 0}})
    assert made.grpc_api.max_receive_message_size == 4 * 1024 * 1024


def test_the_configuration_cannot_be_changed() -> None:
    """Whoever holds it can rely on it."""
    with pytest.raises(ValidationError):
        Config().grpc_api.port = 5  # type: ignore[misc]


SECRET = "hunter2"


def test_the_redacted_form_holds_no_secret() -> None:
    """Keys and passwords are masked, the rest stays readable, all of it is JSON."""
    made = config(
        {"postgresql": {"dsn": f"postgresql://u:{SECRET}@h/x?sslmode=require"}},
        {
            "redis": {"address": [f"redis://:{SECRET}@h:1", "h:2"]},
            "postgresql": {"dsn": f"host=h password={SECRET} dbname=x"},
        },
        grpc_api={"key": SECRET, "tls": {"key_pem": SECRET}},
    )
    shown = made.redacted()
    assert SECRET not in json.dumps(shown)
    assert SECRET not in repr(made)
    assert shown["grpc_api"]["key"] == "***"
    assert shown["http_api"]["key"] == ""
    assert shown["shutdown"]["timeout"] == "30s"
    dsn = "postgresql://u:***@h/x?sslmode=require"
    assert shown["database"]["postgresql"]["dsn"] == dsn
    redis = shown["push_notifications"]["queue"]["redis"]["address"]
    assert redis == ["redis://:***@h:1", "h:2"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:p@h/x", "postgresql://u:***@h/x"),
        ("postgresql://u:p@w@h/x", "postgresql://u:***@h/x"),
        ("postgresql://h/x?password=p&a=b", "postgresql://h/x?password=***&a=b"),
        ("host=h password='a b\\' c' user=u", "host=h password=*** user=u"),
        ("host=h user=u", "host=h user=u"),
        ("redis://h:1?sentinel_password=p", "redis://h:1?sentinel_password=***"),
    ],
)
def test_passwords_in_texts_are_masked(text: str, masked: str) -> None:
    """Both forms of a dsn and the options of a URL are covered."""
    assert mask_passwords(text) == masked
