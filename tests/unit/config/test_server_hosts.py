"""Addresses to listen on: a host, and nothing that only looks like text."""

from __future__ import annotations

import pytest

from tocsin.api.listening import ListenError
from tocsin.config import ConfigError, load_config

KEYS = (
    "http_server.address",
    "http_server.internal_address",
    "grpc_api.address",
    "uni_grpc.address",
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "127.0.0.1", "::", "[::1]", "::1", "fe80::1%eth0", "localhost"),
        *("api-1.internal.example", "my_host"),
    ],
)
def test_hosts_are_taken(key: str, host: str) -> None:
    """Addresses of both families, and names."""
    load_config(None, environ={}, overrides={key: host})


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "text",
    ["h:80", "http://h", "a b", "x" * 64, "/run/x", "hunter2+secret/=", "u:hunter2@h"],
)
def test_what_is_no_host_is_refused_early(key: str, text: str) -> None:
    """The system would say so at the start, in words about something else."""
    with pytest.raises(ConfigError, match="an IP address or a host name") as raised:
        load_config(None, environ={}, overrides={key: text})
    assert "hunter2" not in str(raised.value)


def test_an_address_that_looks_random_is_not_repeated() -> None:
    """A key may be written where the address belongs."""
    key = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
    assert key[:6] not in str(ListenError(f"{key}:80", "grpc_api.port", "no"))
    assert "[::1]:80" in str(ListenError("[::1]:80", "grpc_api.port", "no"))
    assert "*:80" in str(ListenError("*:80", "grpc_api.port", "no"))
