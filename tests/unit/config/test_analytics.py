from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import ConfigError, LoadedConfig, load_config

DATABASE = {"sqlite": {"path": "t.db"}}
ON = {
    "enabled": True,
    "clickhouse_dsn": ["http://u:hushhush@h:8123"],
    "export": {"notifications": {"enabled": True}},
}


def load(folder: Path, content: dict[str, Any]) -> LoadedConfig:
    path = folder / "c.json"
    path.write_text(json.dumps(content))
    return load_config(str(path), environ={})


def faults(folder: Path, section: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, {"clickhouse_analytics": section})
    return {fault.path: fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({}, None),
        ({"database": DATABASE}, "sql"),
        ({"database": DATABASE, "analytics": {"retention": "0s"}}, None),
        ({"database": DATABASE, "clickhouse_analytics": ON}, "clickhouse"),
        ({"clickhouse_analytics": ON}, "clickhouse"),
        (
            {"database": DATABASE, "clickhouse_analytics": {**ON, "export": {}}},
            "sql",
        ),
        (
            {"database": DATABASE, "clickhouse_analytics": {**ON, "enabled": False}},
            "sql",
        ),
    ],
)
def test_where_rows_go(tmp_path: Path, content: dict[str, Any], kind: str) -> None:
    """To ClickHouse when both switches are on, else to the database there is."""
    assert load(tmp_path, content).config.analytics_kind == kind


def test_flat_names_of_older_releases_work(tmp_path: Path) -> None:
    """The documents of v4 write exports without nesting."""
    section = {
        "enabled": True,
        "clickhouse_dsn": "http://a:8123 http://b:8123",
        "export_notifications": True,
        "notifications_flush_interval": "5s",
        "notifications_flush_size": 500,
        "notifications_max_buffer_size": 5000,
        "notifications_ttl": "1 DAY",
    }
    config = load(tmp_path, {"clickhouse_analytics": section}).config
    notifications = config.clickhouse_analytics.export.notifications
    assert config.analytics_kind == "clickhouse"
    assert config.clickhouse_analytics.clickhouse_dsn == (
        "http://a:8123",
        "http://b:8123",
    )
    assert (notifications.flush_interval, notifications.flush_size) == (5.0, 500)
    assert (notifications.max_buffer_size, notifications.ttl) == (5000, "1 DAY")


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        (
            {"clickhouse_dsn": ["tcp://u:hushhush@h:9000"]},
            "clickhouse_dsn",
            "HTTP port",
        ),
        (
            {"clickhouse_dsn": ["http://u:hushhush@h/x"]},
            "clickhouse_dsn",
            "origin only",
        ),
        ({"clickhouse_dsn": ["http://h:99999"]}, "clickhouse_dsn", "must be a URL"),
        ({"clickhouse_dsn": []}, "clickhouse_dsn", "must be set"),
        ({"clickhouse_database": "a-b"}, "clickhouse_database", "must be a name"),
        ({"clickhouse_cluster": "it's"}, "clickhouse_cluster", "name of a cluster"),
        (
            {"export": {"notifications": {"ttl": "168h"}}},
            "export.notifications.ttl",
            "7 DAY",
        ),
        (
            {"export": {"notifications": {"max_buffer_size": 10}}},
            "export.notifications.flush_size",
            "max_buffer_size",
        ),
        ({"tls": {"enabled": True}}, "tls.enabled", "https://"),
    ],
)
def test_wrong_values_are_told(
    tmp_path: Path, change: dict[str, Any], key: str, says: str
) -> None:
    """By key, with what to write, and without the password."""
    found = faults(tmp_path, {**ON, **change})
    assert set(found) == {f"clickhouse_analytics.{key}"}
    (message,) = found.values()
    assert says in message
    assert "hushhush" not in message


def test_passwords_are_masked(tmp_path: Path) -> None:
    """`check-config` prints the section; its addresses may hold passwords."""
    config = load(tmp_path, {"clickhouse_analytics": ON}).config
    shown = config.redacted()["clickhouse_analytics"]
    assert shown["clickhouse_dsn"] == ["http://u:***@h:8123"]
    assert "hushhush" not in repr(config)
