"""Addresses of Redis, the texts of its faults and the names of its keys."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions as foreign
from redis.asyncio import SSLConnection, UnixDomainSocketConnection

from tocsin.core.errors import InternalError, QueueUnavailable
from tocsin.queue.redis_connection import (
    AddressError,
    Keys,
    connect,
    own_errors,
    parse_receipt,
    receipt_of,
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("cache:6380", {"host": "cache", "port": 6380}),
        ("127.0.0.1:6379", {"host": "127.0.0.1", "port": 6379}),
        ("redis://u:p@cache:1/3", {"username": "u", "password": "p", "db": 3}),
        ("tcp://cache:7", {"host": "cache", "port": 7}),
        ("redis://[::1]:7", {"host": "::1", "port": 7}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock"}),
        (["cache:6380"], {"host": "cache", "port": 6380}),
    ],
)
def test_address_forms(address: str | list[str], expected: dict[str, Any]) -> None:
    """Each documented form of one server's address is understood."""
    options = connect(address).connection_pool.connection_kwargs
    assert {name: options[name] for name in expected} == expected


def test_schemes_choose_the_connection() -> None:
    """Rediss is TLS, unix is a socket file."""
    tls = connect("rediss://cache").connection_pool.connection_class
    file = connect("unix:///s").connection_pool.connection_class
    assert issubclass(tls, SSLConnection)
    assert issubclass(file, UnixDomainSocketConnection)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "exactly one"),
        ([], "exactly one"),
        (["a:1", "b:2"], "sharding"),
        ("redis+sentinel://a:1", "sentinel_master_name"),
        ("redis+cluster://a:1/1", "database 0"),
        ("http://a", "must be host:port or a URL"),
        ("redis://", "no host"),
    ],
)
def test_unusable_addresses_say_why(address: str | list[str], why: str) -> None:
    """What cannot be used is refused with the reason, never guessed."""
    with pytest.raises(AddressError, match=why):
        _ = connect(address)


def test_bad_address_does_not_show_its_password() -> None:
    """The text of the error may land in a log."""
    with pytest.raises(AddressError) as caught:
        _ = connect("redis://user:secret@cache:port")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (foreign.AuthenticationError("no"), "password"),
        (foreign.BusyLoadingError("loading"), "loads its data"),
        (foreign.ReadOnlyError("READONLY"), "replica"),
        (foreign.OutOfMemoryError("OOM"), "maxmemory"),
        (foreign.NoPermissionError("NOPERM"), "ACL"),
        (foreign.TimeoutError("late"), "in time"),
        (foreign.ResponseError("MISCONF no disk"), "MISCONF"),
        (OSError("gone"), "cannot be reached"),
        (TimeoutError(), "cannot be reached"),
    ],
)
def test_faults_become_one_own_error(fault: Exception, words: str) -> None:
    """It is temporary, keeps its cause, and says in the log what to do."""
    with pytest.raises(QueueUnavailable) as caught, own_errors():
        raise fault
    assert words in caught.value.reason
    assert caught.value.__cause__ is fault
    assert isinstance(caught.value, InternalError)
    assert caught.value.temporary
    assert caught.value.message == "internal server error: queue is unavailable"


def test_other_errors_pass() -> None:
    """A bug of ours is not a fault of Redis."""
    with pytest.raises(KeyError), own_errors():
        raise KeyError("x")


def test_all_keys_share_a_slot() -> None:
    """Each key starts with the same hash tag, so that scripts may touch them all."""
    keys = Keys("mine")
    names = [
        *keys.all_of("send:fcm"),
        *(keys.progress, keys.dead, keys.sequence),
        *(keys.payload("p"), keys.once("p")),
    ]
    assert all(name.startswith("{mine}:") for name in names)
    assert len(set(names)) == len(names)


def test_receipt_round_trips() -> None:
    """The queue's own name may hold any separator."""
    receipt = receipt_of("send:odd|name", "17-0")
    assert parse_receipt(receipt) == ("send:odd|name", "17-0")
