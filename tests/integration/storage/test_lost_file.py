"""A SQLite file that is moved, deleted or replaced under an open database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from tocsin.core.errors import DependencyLost
from tocsin.storage.engine import open_sqlite
from tocsin.storage.errors import DatabaseUnavailable


async def test_a_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    """And forgotten when it is put back."""
    path = tmp_path / "x.db"
    database = open_sqlite(path)
    await database.check()
    path.rename(tmp_path / "away.db")
    with pytest.raises(DependencyLost) as caught:
        await database.check()
    assert caught.value.detail == (
        f"the file {path} is gone; what is written now is lost at the end: put it"
        " back or restart"
    )
    (tmp_path / "away.db").rename(path)
    await database.check()
    await database.close()


async def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    """A copy of the same content is another file all the same."""
    path = tmp_path / "x.db"
    database = open_sqlite(path)
    await database.check()
    shutil.copy(path, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    with pytest.raises(DependencyLost, match="is another one now"):
        await database.check()
    await database.close()


async def test_no_connection_makes_an_empty_file_in_its_place(tmp_path: Path) -> None:
    """A further one is refused with the reason; open ones go on."""
    path = tmp_path / "x.db"
    database = open_sqlite(path)
    async with database.engine.connect():
        path.rename(tmp_path / "away.db")
        with pytest.raises(DatabaseUnavailable) as caught:
            await database.read(lambda connection: connection.execute(text("SELECT 1")))
    assert "is gone" in caught.value.reason
    assert not path.exists()
    await database.close()
