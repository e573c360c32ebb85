"""Where a database is, in words that repeat no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.storage.places import describe_postgres, describe_sqlite, find_sqlite_fault


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("postgresql://u:hunter2@h:5/x", "PostgreSQL at h:5/x"),
        ("host=/run/pg password='hun ter2'", "PostgreSQL at /run/pg"),
        ("postgresql://u:hun#t?er2@a,b/x", "PostgreSQL at a,b/x"),
        ("dbname=x", "PostgreSQL at the local socket/x"),
    ],
)
def test_a_postgresql_is_told_by_host_port_and_name(dsn: str, place: str) -> None:
    """Whatever its password is made of."""
    assert describe_postgres(dsn) == place


def test_a_sqlite_file_is_told_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration's is seen from the folder."""
    monkeypatch.chdir(tmp_path)
    assert describe_sqlite("x.db") == str(tmp_path / "x.db")
    assert find_sqlite_fault("no/x.db") == f"there is no folder {tmp_path / 'no'}"


@pytest.mark.parametrize(
    "path", ["hunter2secret", "hunter2secret/x", "no/hunter2secret"]
)
def test_what_is_no_credible_path_is_not_made_one(path: str) -> None:
    """A folder in front of a password makes it no path."""
    assert "ter2secret" not in describe_sqlite(path)
    assert "ter2secret" not in find_sqlite_fault(path)
