from __future__ import annotations

import pytest

from tocsin.config.clickhouse import (
    Address,
    check_cluster,
    check_name,
    check_ttl,
    parse_dsn,
)


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("http://localhost:8123", Address("http://localhost:8123")),
        ("https://ch.example/", Address("https://ch.example")),
        ("http://u:p%40ss@h:1", Address("http://h:1", "u", "p@ss")),
        ("http://[::1]:8123", Address("http://[::1]:8123")),
    ],
)
def test_dsn_is_read(dsn: str, address: Address) -> None:
    """Origin, user and password are taken apart; the password may be escaped."""
    assert parse_dsn(dsn) == address


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("tcp://user:secret@h:9000", "HTTP port"),
        ("clickhouse://h:9000", "HTTP port"),
        ("h:8123", "must be a URL"),
        ("http://", "must be a URL"),
        ("http://h:many", "must be a URL"),
        ("http://h/stats", "origin only"),
        ("http://h?database=x", "origin only"),
    ],
)
def test_other_dsns_are_refused_with_words(dsn: str, says: str) -> None:
    """The native protocol is named as what it is; no password is repeated."""
    with pytest.raises(ValueError, match=says) as raised:
        parse_dsn(dsn)
    assert "secret" not in str(raised.value)


def test_password_is_not_in_a_repr() -> None:
    """An address that is logged by mistake says no secret."""
    assert "hush" not in repr(parse_dsn("http://u:hush@h"))


@pytest.mark.parametrize("name", ["", "a b", "x`; DROP", "1st", "a-b"])
def test_names_that_are_no_identifiers_are_refused(name: str) -> None:
    """They become part of a statement."""
    with pytest.raises(ValueError, match="name"):
        check_name(name)


@pytest.mark.parametrize("name", ["main", "{cluster}", "eu-1.prod", ""])
def test_clusters_may_be_macros(name: str) -> None:
    """A cluster may be named by the server's own macro; empty is none."""
    assert check_cluster(name) == name


@pytest.mark.parametrize("name", ["it's", "a b", "x\n"])
def test_other_clusters_are_refused(name: str) -> None:
    """They become part of a statement."""
    with pytest.raises(ValueError, match="cluster"):
        check_cluster(name)


@pytest.mark.parametrize("ttl", ["7 DAY", "1 month", "36 HOURS"])
def test_intervals_are_taken(ttl: str) -> None:
    """As ClickHouse writes them, in any case."""
    assert check_ttl(ttl) == ttl


@pytest.mark.parametrize("ttl", ["", "7", "168h", "0 DAY", "7 DAY; DROP", "-1 DAY"])
def test_other_intervals_are_refused(ttl: str) -> None:
    """They become part of a statement."""
    with pytest.raises(ValueError, match="7 DAY"):
        check_ttl(ttl)
