"""Where a database is, in words for a person, and what is wrong with that place.

Part of the storage room; it must not open a database, nor show a password.
"""

from __future__ import annotations

import os
from pathlib import Path

from tocsin.config.postgres_dsns import parse_postgres
from tocsin.config.showing import show_path


def describe_postgres(dsn: str) -> str:
    """`PostgreSQL at HOST:PORT/NAME`, of a dsn that libpq can read."""
    return f"PostgreSQL at {parse_postgres(dsn).place}"


def describe_sqlite(path: str | Path) -> str:
    """The absolute path, since a relative one depends on the working folder.

    A text that is no credible path is shown only as far as `show_path` shows it.
    """
    shown = show_path(path)
    return str(Path(path).absolute()) if shown == str(path) else shown


def find_sqlite_fault(path: str | Path) -> str:
    """Why SQLite cannot use this path, if the path itself shows that; or ""."""
    file = Path(path).absolute()
    if file.is_dir():
        return "it is a directory"
    if not file.parent.is_dir():
        return f"there is no folder {_show_folder(path)}"
    if file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return "this user may not read and write the file"
    if not os.access(file.parent, os.W_OK | os.X_OK):
        # Also for a file that is there: SQLite keeps its journal beside it.
        return f"this user may not write in the folder {_show_folder(path)}"
    return ""


def _show_folder(path: str | Path) -> str:
    if show_path(path) != str(path):
        return "of that path"
    return str(Path(path).absolute().parent)
