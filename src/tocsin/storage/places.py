"""Where a database is, in words for a person, and what is wrong with that place.

Part of the storage room; it must not open a database, nor show a password.
"""

from __future__ import annotations

import os
from pathlib import Path

from tocsin.storage.engine import parse_dsn


def describe_postgres(dsn: str) -> str:
    """`PostgreSQL at HOST:PORT/NAME`, of a dsn that libpq can read."""
    parts = parse_dsn(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "the local socket"
    port = f":{parts['port']}" if parts.get("port") else ""
    name = f"/{parts['dbname']}" if parts.get("dbname") else ""
    return f"PostgreSQL at {host}{port}{name}"


def describe_sqlite(path: str | Path) -> str:
    """The path made absolute: that of the configuration depends on the folder."""
    return str(Path(path).absolute())


def find_sqlite_fault(path: str | Path) -> str:
    """Why SQLite cannot use this path, as far as the path shows it; or nothing."""
    file = Path(path).absolute()
    if file.is_dir():
        return "it is a directory"
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}"
    if file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return "this user may not read and write the file"
    if not os.access(file.parent, os.W_OK | os.X_OK):
        # Also for a file that is there: SQLite keeps its journal beside it.
        return f"this user may not write in the folder {file.parent}"
    return ""
