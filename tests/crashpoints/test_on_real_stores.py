from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from tests.crashpoints.faults import Point, Schedule
from tests.crashpoints.lives import live, run, small_pages
from tests.crashpoints.real_stores import RealStores
from tests.crashpoints.world import World, end_all_tasks
from tests.support.job_queues import sql_address
from tests.support.postgres import PostgresServer

from tocsin.core.clock import SystemClock
from tocsin.push import log_keeper, repair
from tocsin.storage.engine import Database, open_postgres, open_sqlite

LEASE_S = 2.0
SAMPLE = 8
"""Lives of one test; they run beside each other."""
LIFE = "walk"
QUIET_WITHIN_S = 60.0


@pytest.fixture
def short_patience() -> Iterator[None]:
    """What waits for seconds that another process may need waits for few of them."""
    with ExitStack() as stack:
        for module, name in (
            (log_keeper, "UNSEEN_AFTER_MS"),
            (log_keeper, "UNSEEN_EVERY_MS"),
            (repair, "FIRST_CALL_MS"),
        ):
            stack.enter_context(patch.object(module, name, 3_000))
        stack.enter_context(small_pages())
        yield


def points_of(engine: str) -> list[Point]:
    """Other ones for each engine; all of them are tried in memory."""
    return random.Random(engine).sample(run(LIFE).points(), SAMPLE)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "redis"])
async def test_a_sample_of_points_on_real_stores(
    engine: str,
    short_patience: None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Redis stands beside PostgreSQL, the others have all in one database."""
    # The points are found in virtual time, which needs a loop of its own.
    points = await asyncio.to_thread(points_of, engine)
    async with AsyncExitStack() as stack:
        worlds = []
        for number, point in enumerate(points):
            database, address = _open(engine, number, request, tmp_path)
            stack.push_async_callback(database.close)
            stores = RealStores(
                database,
                address,
                prefix=f"life{number}",
                lease_s=LEASE_S,
                stack=stack,
            )
            world = World(stores, Schedule((point,)), SystemClock(), lease_s=LEASE_S)
            world.counts_duplicates = False
            worlds.append(world)
        courses = await asyncio.gather(
            *(live(LIFE, world, quiet_within_s=QUIET_WITHIN_S) for world in worlds)
        )
        await asyncio.gather(*(world.stop() for world in worlds))
        await end_all_tasks()
    assert {
        f"{LIFE} on {engine} --at {point}": course.broken
        for point, course in zip(points, courses, strict=True)
        if course.broken
    } == {}
    assert sum(bool(course.met) for course in courses) >= SAMPLE // 2


def _open(
    engine: str, number: int, request: pytest.FixtureRequest, directory: Path
) -> tuple[Database, str]:
    """A registry of its own, and where its queue is."""
    if engine == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = Path(shutil.copy(template, directory / f"life-{number}.db"))
        return open_sqlite(path), f"sqlite+aiosqlite:///{directory}/queue-{number}.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    copied: str = request.getfixturevalue("postgres_template")
    name = f"life_{engine}_{number}"
    dsn = server.create_database(name, template=copied)
    database = open_postgres(dsn)
    if engine == "redis":
        return database, request.getfixturevalue("redis_address")
    return database, sql_address(dsn)
