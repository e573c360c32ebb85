"""A changed configuration is taken as a whole, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tocsin.app.faults import Unusable
from tocsin.app.reloading import Reloader, find_restart_keys, find_taken_keys
from tocsin.config import Config
from tocsin.telemetry.metrics import Metrics


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


class Part:
    """Takes whatever comes, or refuses it with these faults."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        self.taken: list[Config] = []

    def __call__(self, wanted: Config) -> Callable[[], None]:
        if self.faults:
            raise Unusable(self.faults)
        return lambda: self.taken.append(wanted)


def counts(metrics: Metrics) -> dict[str, float]:
    return {
        result: metrics.config_reloads.get(result)
        for result in ("taken", "refused")
        if metrics.config_reloaded_at.get(result)
    }


def test_all_parts_take_it() -> None:
    """The log names what changed, and what does not take effect before a restart."""
    one, two, metrics = Part(), Part(), Metrics()
    running = config(http_api={"key": "a"}, client={"channel_limit": 1})
    fresh = config(
        http_api={"key": "b", "error_mode": "transport"}, client={"channel_limit": 2}
    )
    reloader = Reloader(running, lambda: fresh, parts=(one, two), metrics=metrics)
    with structlog.testing.capture_logs() as logs:
        reloader.reload()
        reloader.reload()
    assert one.taken == two.taken == [fresh, fresh]
    assert reloader.current is fresh
    assert counts(metrics) == {"taken": 2}
    changed = [line["changed"] for line in logs if "changed" in line]
    assert changed == [["http_api.key", "client.channel_limit"], []]
    words = "need a restart to take effect: http_api.error_mode"
    assert [line["event"] for line in logs].count(words) == 2


def test_a_part_that_refuses_stops_all() -> None:
    """Every fault of every part is a line; nothing was taken."""
    good, metrics = Part(), Metrics()
    running, fresh = config(), config(http_api={"key": "b"})
    parts = (good, Part("one: is wrong", "two: is wrong"), Part("three: is wrong"))
    reloader = Reloader(running, lambda: fresh, parts=parts, metrics=metrics)
    with structlog.testing.capture_logs() as logs:
        reloader.reload()
    assert good.taken == []
    assert (reloader.current, reloader.wanted) == (running, fresh)
    assert counts(metrics) == {"refused": 1}
    assert [line["reason"] for line in logs] == [
        "one: is wrong",
        "two: is wrong",
        "three: is wrong",
    ]


def test_a_wrong_file_changes_nothing() -> None:
    """Its faults are told by whoever reads it."""
    part, metrics, running = Part(), Metrics(), config()
    reloader = Reloader(running, lambda: None, parts=(part,), metrics=metrics)
    reloader.reload()
    assert part.taken == []
    assert reloader.wanted is running
    assert counts(metrics) == {"refused": 1}


def test_a_fault_of_ours_ends_nobody() -> None:
    """A signal must not end who is at work."""

    def fail() -> Config:
        raise LookupError("a fault")

    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        Reloader(config(), fail, metrics=metrics).reload()
    assert logs[0]["event"] == "nothing was reloaded"
    assert counts(metrics) == {"refused": 1}


def test_levels_of_the_log_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """From the next line on."""
    fresh = config(log={"level": "debug"})
    Reloader(config(), lambda: fresh).reload()
    structlog.get_logger("tocsin.push").debug("a quiet word")
    assert "a quiet word" in capsys.readouterr().out


PEM = {"enabled": True, "cert_pem": "c", "key_pem": "k"}


@pytest.mark.parametrize(
    ("old", "new", "restart"),
    [
        ({}, {"grpc_api": {"keys": [{"name": "a", "key": "k"}]}}, []),
        ({}, {"admin": {"key": "k"}, "log": {"rooms": ["push=debug"]}}, []),
        ({}, {"reload": {"watch_files": False}}, []),
        ({}, {"http_server": {"port": 1}}, ["http_server.port"]),
        (
            {"grpc_api": {"tls": PEM}},
            {"grpc_api": {"tls": {**PEM, "cert_pem": "d"}}},
            [],
        ),
        (
            {"grpc_api": {"tls": PEM}},
            {"grpc_api": {"tls": {**PEM, "client_ca_pem": "a"}}},
            ["grpc_api.tls.client_ca_pem"],
        ),
        (
            {"uni_grpc": {"tls": {**PEM, "client_ca_pem": "a"}}},
            {"uni_grpc": {"tls": {**PEM, "client_ca_pem": "b"}}},
            [],
        ),
        (
            {"http_server": {"tls": PEM}},
            {"http_server": {"tls": {**PEM, "enabled": False}}},
            ["http_server.tls.enabled"],
        ),
        (
            {},
            {"client": {"queue_max_size": 5, "concurrency": 2}},
            ["client.concurrency"],
        ),
        (
            {},
            {"push_notifications": {"limits": {"page_size": 7}, "uid_ttl": "1h"}},
            ["push_notifications.uid_ttl"],
        ),
    ],
)
def test_what_waits_for_a_restart_is_named(
    old: dict[str, Any], new: dict[str, Any], restart: list[str]
) -> None:
    """Key by key; the rest is taken, and named too."""
    assert find_restart_keys(config(**old), config(**new)) == restart
    if not restart:
        assert find_taken_keys(config(**old), config(**new))


def test_a_credential_that_changed_is_named_by_its_section() -> None:
    """Not by the keys in it, which its adapter takes as a whole."""
    old = {"enabled_providers": ["expo"], "expo": {"access_token": "a"}}
    new = {"enabled_providers": ["expo"], "expo": {"access_token": "b"}}
    assert find_taken_keys(
        config(push_notifications=old), config(push_notifications=new)
    ) == ["push_notifications.expo"]
