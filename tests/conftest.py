"""Fixtures for the whole suite; helpers they stand on are in tests/support."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.postgres import PostgresServer, start_postgres
from tests.support.redis_server import RedisServer, start_redis

_database_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the run (one per xdist worker)."""
    with tempfile.TemporaryDirectory(prefix="tocsin-pg-") as directory:
        server = start_postgres(Path(directory))
        yield server
        server.stop()


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """The dsn of a fresh and empty database."""
    name = f"test_{next(_database_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis-compatible server for the run (one per xdist worker)."""
    with tempfile.TemporaryDirectory(prefix="tocsin-redis-") as directory:
        server = start_redis(Path(directory))
        yield server
        server.stop()


@pytest.fixture
def redis_address(redis_server: RedisServer) -> str:
    """The address of a server that holds nothing."""
    redis_server.flush()
    return redis_server.address
