"""What is told of keys about Redis that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.config.checks import find_contradictions
from tocsin.config.root import Config

CLUSTER = "redis+cluster://a:1?addr=b:2"
PUSH: dict[str, Any] = {
    "enabled_providers": ["fcm"],
    "fcm": {"credentials_file": "f"},
}


def faults(engine: dict[str, Any], queue: dict[str, Any]) -> dict[str, str]:
    """Path and message of each."""
    config = Config.model_validate(
        {
            "engine": {"type": "redis", "redis": engine},
            "push_notifications": {**PUSH, "queue": {"redis": queue}},
        }
    )
    return {fault.path: fault.message for fault in find_contradictions(config)}


@pytest.mark.parametrize(
    ("engine", "key", "why"),
    [
        ({"address": CLUSTER, "db": 2}, "db", "must be 0: a cluster"),
        ({"address": ["h:1", CLUSTER], "db": 2}, "db", "must be 0: a cluster"),
        ({"address": CLUSTER, "prefix": "{p}"}, "prefix", "must hold no {"),
    ],
)
def test_an_engine_in_a_cluster(engine: dict[str, Any], key: str, why: str) -> None:
    """Database and prefix must leave the keys where the cluster wants them."""
    found = faults(engine, {"address": "h:1"})
    assert list(found) == [f"engine.redis.{key}"]
    assert found[f"engine.redis.{key}"].startswith(why)


@pytest.mark.parametrize(
    ("engine", "queue", "key", "why"),
    [
        ({}, {"address": ["h:1", "h:2"]}, "address", "must be one address"),
        (
            {"address": ["h:1", CLUSTER]},
            {"reuse_from_engine": True},
            "reuse_from_engine",
            "needs a single engine.redis.address",
        ),
        ({}, {"address": CLUSTER, "prefix": "}p"}, "prefix", "must hold no {"),
        ({}, {"address": "redis://h?io_timeout=1s"}, "address", "needs an io_timeout"),
        (
            {"address": "redis://h?io_timeout=1s"},
            {"reuse_from_engine": True},
            "reuse_from_engine",
            "needs an io_timeout",
        ),
    ],
)
def test_a_queue_lies_in_one_place(
    engine: dict[str, Any], queue: dict[str, Any], key: str, why: str
) -> None:
    """On one server, behind one name, or in one cluster."""
    path = f"push_notifications.queue.redis.{key}"
    found = faults(engine, queue)
    assert list(found) == [path]
    assert found[path].startswith(why)


@pytest.mark.parametrize(
    ("engine", "queue"),
    [
        ({"address": ["h:1", CLUSTER]}, {"address": CLUSTER}),
        ({"address": CLUSTER}, {"reuse_from_engine": True}),
        ({"db": 3, "prefix": "{p}"}, {"address": "h:1", "prefix": "}p"}),
        (
            {"address": "redis+sentinel://s?sentinel_master_name=m", "db": 3},
            {"address": "unix:///r.sock"},
        ),
    ],
)
def test_what_fits_is_left_alone(engine: dict[str, Any], queue: dict[str, Any]) -> None:
    """Servers and clusters side by side, and braces where nothing is spread."""
    assert faults(engine, queue) == {}


def test_one_fault_in_a_list_of_addresses_names_the_key() -> None:
    """And what would be right, without the password."""
    with pytest.raises(ValueError, match="sentinel_master_name") as caught:
        Config.model_validate(
            {"engine": {"redis": {"address": ["h:1", "redis+sentinel://:hunter@s"]}}}
        )
    assert "engine.redis.address" in str(caught.value)
    assert "hunter" not in str(caught.value.errors(include_input=False))  # type: ignore[attr-defined]


def test_a_key_in_an_address_is_masked() -> None:
    """As passwords are, wherever the configuration is shown."""
    address = (
        "rediss+sentinel://u:hunter1@s?sentinel_master_name=m&sentinel_password=hunter2"
        "&tls_cert_pem=c.pem&tls_key_pem=hunter3"
    )
    config = Config.model_validate({"engine": {"redis": {"address": address}}})
    shown = config.redacted()["engine"]["redis"]["address"][0]
    assert "hunter" not in shown
    assert "sentinel_master_name=m" in shown
