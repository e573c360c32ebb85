"""The file with the tokens is its owner's alone, whatever the umask."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tocsin.storage.engine import open_sqlite
from tocsin.storage.sqlite_file import SqliteFile

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def open_to_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o644)


async def test_a_new_file_is_private_from_its_first_moment(
    tmp_path: Path, umask: int
) -> None:
    """And so is all that SQLite puts beside it."""
    made = SqliteFile(tmp_path / "first.db")
    made.keep_private()
    assert modes(tmp_path) == {"first.db": 0o600}
    database = open_sqlite(tmp_path / "x.db")
    await database.check()
    found = modes(tmp_path)
    assert set(found) == {"first.db", "x.db", "x.db-wal", "x.db-shm"}
    assert set(found.values()) == {0o600}
    await database.close()


async def test_a_file_of_an_earlier_release_is_closed_to_others(tmp_path: Path) -> None:
    """All could read it; its content stays."""
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as one:
        one.execute("PRAGMA journal_mode = WAL")
        one.execute("CREATE TABLE t (a)")
        one.execute("INSERT INTO t VALUES (1)")
        one.commit()
        open_to_all(tmp_path)
        with capture_logs() as logs:
            database = open_sqlite(path)
            await database.check()
        assert set(modes(tmp_path).values()) == {0o600}
        assert [log["file"] for log in logs if "owner's alone" in log["event"]]
    async with database.engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT a FROM t")).scalar_one() == 1
    await database.close()
    one.close()


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o600, 0o400])
def test_a_mode_that_somebody_chose_stays(tmp_path: Path, mode: int) -> None:
    """A group may be let in by hand, to make backups."""
    path = tmp_path / "x.db"
    path.touch()
    path.chmod(mode)
    SqliteFile(path).keep_private()
    assert modes(tmp_path) == {"x.db": mode}


def test_who_may_not_close_it_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And works on with it."""
    path = tmp_path / "x.db"
    path.touch(mode=0o644)
    path.chmod(0o644)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with capture_logs() as logs:
        SqliteFile(path).keep_private()
    assert [(log["log_level"], log["file"]) for log in logs] == [("warning", str(path))]


def test_a_folder_that_is_not_there_is_told_by_who_opens(tmp_path: Path) -> None:
    """It is no business of the mode."""
    SqliteFile(tmp_path / "no" / "x.db").keep_private()
    assert modes(tmp_path) == {}
