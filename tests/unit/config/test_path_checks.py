"""Paths of the HTTP port: what can be one, and that each is taken once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import ConfigError, load_config


def faults(folder: Path, content: Any) -> dict[str, str]:
    """What is wrong with the configuration, by key."""
    path = folder / "c.json"
    path.write_text(json.dumps(content))
    try:
        load_config(str(path), environ={})
    except ConfigError as error:
        return {fault.path: fault.message for fault in error.faults}
    return {}


@pytest.mark.parametrize("path", ["", "x", "/a{b", "/a b", "/a?b=c", "/a#b", "/ä"])
def test_what_is_no_path(tmp_path: Path, path: str) -> None:
    """It is refused by its key, whatever the server would have made of it."""
    content = {"websocket": {"handler_prefix": path}}
    found = faults(tmp_path, content)
    assert list(found) == ["websocket.handler_prefix"]
    assert "must begin with /" in found["websocket.handler_prefix"]


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/", "/connection/v2.1/web-socket_~"])
def test_what_is_a_path(tmp_path: Path, path: str) -> None:
    """Letters, digits and a few signs; a slash at the end is passed over."""
    assert faults(tmp_path, {"websocket": {"handler_prefix": path}}) == {}


WS = "/connection/websocket"
ON = {"enabled": True}
CLASHES: list[tuple[dict[str, Any], str, str]] = [
    ({"sse": {**ON, "handler_prefix": WS}}, "sse", "websocket.handler_prefix"),
    ({"uni_websocket": {**ON, "handler_prefix": WS}}, "uni_websocket", "websocket"),
    (
        {"http_stream": ON, "emulation": {"handler_prefix": "/connection/http_stream"}},
        "emulation",
        "http_stream.handler_prefix",
    ),
    (
        {
            "uni_sse": {**ON, "handler_prefix": "/x"},
            "init": {**ON, "handler_prefix": "/x"},
        },
        "init",
        "uni_sse.handler_prefix",
    ),
    ({"demo": {**ON, "handler_prefix": "/connection/websocket/"}}, "demo", "websocket"),
    ({"websocket": {"handler_prefix": "/health"}}, "websocket", "health"),
    ({"websocket": {"handler_prefix": "/ready"}}, "websocket", "health"),
    ({"websocket": {"handler_prefix": "/metrics"}}, "websocket", "prometheus"),
    ({"websocket": {"handler_prefix": "/api"}}, "websocket", "http_api.handler_prefix"),
]


@pytest.mark.parametrize(("content", "section", "other"), CLASHES, ids=str)
def test_a_path_that_is_taken(
    tmp_path: Path, content: dict[str, Any], section: str, other: str
) -> None:
    """One of the two would never be reached; the fault names both."""
    found = faults(tmp_path, content)
    assert list(found) == [f"{section}.handler_prefix"]
    assert other in found[f"{section}.handler_prefix"]


FREE: list[dict[str, Any]] = [
    {"sse": {"handler_prefix": WS}},
    {"sse": {**ON, "handler_prefix": WS}, "websocket": {"disabled": True}},
    {"emulation": {"handler_prefix": WS}},
    {"websocket": {"handler_prefix": "/health"}, "health": {"enabled": False}},
    {"websocket": {"handler_prefix": "/metrics"}, "prometheus": {"enabled": False}},
    {"websocket": {"handler_prefix": "/api"}, "http_api": {"disabled": True}},
    {"websocket": {"handler_prefix": "/api"}, "http_server": {"internal_port": 9000}},
]


@pytest.mark.parametrize("content", FREE, ids=str)
def test_a_path_that_is_free(tmp_path: Path, content: dict[str, Any]) -> None:
    """What is off, or on the other port, takes no path."""
    assert faults(tmp_path, content) == {}
