"""A database that answers and takes no writes is not ready, and says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.support.postgres import start_postgres, temporary_root

from tocsin.core.errors import DependencyLost
from tocsin.storage.engine import Database, open_postgres, open_sqlite


@contextmanager
def tiny_disk(at: Path, size: str) -> Iterator[Path]:
    """Mount a disk of this size; skipped where this user may not."""
    at.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    if mount is None or subprocess.run(command, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    path = disk / "filler"
    number = os.open(path, os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):  # no space left
        while os.write(number, b"x" * 4096):
            pass
    os.close(number)
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tiny_disk(tmp_path / "disk", "1m") as disk:
        yield disk


@dataclass
class Tiny:
    """A database whose data lies on a small disk of its own."""

    dsn: str
    disk: Path


@pytest.fixture
def tiny() -> Iterator[Tiny]:
    root = temporary_root()
    with (
        tempfile.TemporaryDirectory(prefix="tocsin-pg-", dir=root) as folder,
        tempfile.TemporaryDirectory(prefix="tocsin-disk-", dir=root) as beside,
    ):
        Path(beside).chmod(0o755)
        with tiny_disk(Path(beside) / "disk", "24m") as disk:
            server = start_postgres(Path(folder))
            dsn = server.create_database("plain")
            place = disk / "data"
            place.mkdir()
            try:
                with psycopg.connect(dsn, autocommit=True) as one:
                    row = one.execute("SHOW data_directory").fetchone()
                    assert row is not None
                    owner = Path(row[0]).stat()
                    disk.chmod(0o755)
                    os.chown(place, owner.st_uid, owner.st_gid)
                    one.execute(f"CREATE TABLESPACE tiny LOCATION '{place}'")
                    one.execute("CREATE DATABASE on_tiny TABLESPACE tiny")
                yield Tiny(make_conninfo(dsn, dbname="on_tiny"), disk)
            finally:
                server.stop()


async def refusal(database: Database) -> str:
    with pytest.raises(DependencyLost) as caught:
        await database.check()
    return caught.value.detail


async def test_sqlite_on_a_full_disk(disk: Path) -> None:
    """It can be read all the time. With space it is ready again."""
    database = open_sqlite(disk / "x.db")
    await database.check()
    filler = fill(disk)
    # What was free within its own files goes first.
    for _ in range(300):
        try:
            await database.check()
        except DependencyLost as error:
            assert "disk" in error.detail  # noqa: PT017 - it comes at some turn
            break
    else:
        pytest.fail("the disk is full and writes are said to go on")
    filler.unlink()
    await database.check()
    await database.close()


async def test_checks_leave_nothing_in_a_sqlite_file(tmp_path: Path) -> None:
    """However often they are made."""
    database = open_sqlite(tmp_path / "x.db")
    await database.check()
    await database.write(lambda one: one.exec_driver_sql("PRAGMA user_version = 7"))
    size = (tmp_path / "x.db").stat().st_size
    for _ in range(50):
        await database.check()
    async with database.engine.connect() as connection:
        version = await connection.exec_driver_sql("PRAGMA user_version")
        assert version.scalar_one() == 7
    await database.close()
    assert (tmp_path / "x.db").stat().st_size == max(size, 4096)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_sqlite_file_that_may_not_be_written(tmp_path: Path) -> None:
    """The words name the right that is missing."""
    database = open_sqlite(tmp_path / "x.db")
    await database.check()
    await database.close()
    (tmp_path / "x.db").chmod(0o400)
    database = open_sqlite(tmp_path / "x.db")
    assert "cannot be written" in await refusal(database)
    await database.close()


async def test_postgresql_that_is_read_only(postgres_dsn: str) -> None:
    """As a standby is, or a server whose disk a provider found too full."""
    database = open_postgres(postgres_dsn)
    await database.check()
    await database.close()
    read_only = make_conninfo(
        postgres_dsn, options="-c default_transaction_read_only=on"
    )
    database = open_postgres(read_only)
    assert "takes no writes" in await refusal(database)
    await database.close()


async def test_postgresql_on_a_full_disk(tiny: Tiny) -> None:
    """Reading goes on all the time. With space it is ready again."""
    database = open_postgres(tiny.dsn)
    await database.check()
    filler = fill(tiny.disk)
    assert "disk is full" in await refusal(database)
    filler.unlink()
    await database.check()
    await database.close()
