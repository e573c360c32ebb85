"""Fixtures for the whole suite; helpers they stand on are in tests/support."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
import tests.support.children  # noqa: F401 - before gRPC: see there
from hypothesis import settings
from tests.support.postgres import PostgresServer, start_postgres, temporary_root
from tests.support.redis_cluster import RedisCluster, start_cluster
from tests.support.redis_server import RedisServer, start_redis

from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.migrations import migrate

_database_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Logs of tests as structlog has them unconfigured, but for their tracebacks.

    With `rich` installed one with all locals takes seconds on a busy machine, and the
    event loop waits meanwhile.
    """
    *processors, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(
        exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*processors, renderer])
    # A busy machine is no counterexample, and none is kept between runs.
    settings.register_profile("suite", deadline=None, database=None)
    settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the run (one per xdist worker)."""
    root = temporary_root()
    with tempfile.TemporaryDirectory(prefix="tocsin-pg-", dir=root) as directory:
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
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a database with this release's schema, to be copied."""
    _migrate(open_postgres(postgres_server.create_database("template")))
    return "template"


@pytest.fixture
def migrated_postgres_dsn(
    postgres_server: PostgresServer, postgres_template: str
) -> Iterator[str]:
    """The dsn of a fresh database with this release's schema."""
    name = f"test_{next(_database_numbers)}"
    yield postgres_server.create_database(name, template=postgres_template)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with this release's schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(open_sqlite(path))
    return path


@pytest.fixture
def migrated_sqlite_path(sqlite_template: Path, tmp_path: Path) -> Path:
    """A fresh SQLite file with this release's schema."""
    return Path(shutil.copy(sqlite_template, tmp_path / "tocsin.db"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def migrated_database(
    request: pytest.FixtureRequest,
) -> AsyncIterator[Database]:
    """An open database with this release's schema, of each kind in turn."""
    if request.param == "sqlite":
        database = open_sqlite(request.getfixturevalue("migrated_sqlite_path"))
    else:
        database = open_postgres(request.getfixturevalue("migrated_postgres_dsn"))
    yield database
    await database.close()


def _migrate(database: Database) -> None:
    async def run() -> None:
        await migrate(database)
        await database.close()

    # In a thread of its own: the fixture may be asked for inside a running loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(run())).result()


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


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """One cluster of three servers for the run (one per xdist worker)."""
    with tempfile.TemporaryDirectory(prefix="tocsin-cluster-") as directory:
        cluster = start_cluster(Path(directory))
        yield cluster
        cluster.stop()


@pytest.fixture
def redis_cluster_address(redis_cluster: RedisCluster) -> str:
    """The address of a cluster that holds nothing."""
    redis_cluster.flush()
    return redis_cluster.address
