"""Dsns in every spelling."""

from __future__ import annotations

import pytest

from tocsin.storage.engine import open_postgres, parse_dsn


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://joe:s%20ecret@db.example:5433/tocsin?sslmode=require",
        "postgres://joe:s%20ecret@db.example:5433/tocsin?sslmode=require",
        "postgresql+psycopg://joe:s%20ecret@db.example:5433/tocsin?sslmode=require",
        """host=db.example port=5433 user=joe password='s ecret'
        dbname=tocsin sslmode=require""",
    ],
)
def test_every_spelling_of_a_dsn(dsn: str) -> None:
    """URLs of both schemes and key=value pairs mean the same."""
    assert parse_dsn(dsn) == {
        "host": "db.example",
        "port": "5433",
        "user": "joe",
        "password": "s ecret",
        "dbname": "tocsin",
        "sslmode": "require",
    }


def test_several_hosts_and_sockets_pass() -> None:
    """What libpq knows is left to libpq."""
    assert parse_dsn("postgresql://a:1,b:2/x")["host"] == "a,b"
    assert parse_dsn("postgresql:///x?host=/run/pg")["host"] == "/run/pg"


@pytest.mark.parametrize("dsn", ["hunter2", "mysql://joe:hunter2@db/x", "a b=hunter2"])
def test_bad_dsn_is_refused_without_quoting_it(dsn: str) -> None:
    """The message says the form and never the password."""
    with pytest.raises(ValueError, match="not a PostgreSQL dsn") as caught:
        open_postgres(dsn)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
