"""A PostgreSQL whose name has a first address that drops packets."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from tests.support.dead_addresses import dropping, resolving

from tocsin.storage import liveness
from tocsin.storage.engine import open_postgres

DEAD, ALIVE = "127.0.0.2", "127.0.0.1"


async def test_the_second_address_is_used(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the first had the time that the program gives one where nobody says."""
    assert int(liveness._DEFAULTS["connect_timeout"]) <= 10
    monkeypatch.setitem(liveness._DEFAULTS, "connect_timeout", "2")
    port = urlsplit(postgres_dsn).port
    assert port is not None
    named = postgres_dsn.replace(ALIVE, "postgres.example")
    assert named != postgres_dsn
    database = open_postgres(named)
    try:
        with resolving("postgres.example", DEAD, ALIVE), dropping(DEAD, port):
            await database.check()
    finally:
        await database.close()


def test_a_wait_that_the_environment_names_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What libpq's variable says is not hidden by the program's own."""
    assert "connect_timeout" in liveness.connection_defaults()
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "30")
    assert "connect_timeout" not in liveness.connection_defaults()
