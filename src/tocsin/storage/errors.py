"""The one table from the drivers' exceptions to Tocsin's own errors.

Part of the storage room. It must not quote what a driver says about values. Callers
read none of a driver's words: those are the `reason`, for the log.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tocsin.core.errors import ApiError, BadRequest, InternalError, StatementRefused

FOREIGN: tuple[type[Exception], ...] = (SQLAlchemyError, sqlite3.Error, OSError)
"""What a transaction may raise that is not ours; PostgreSQL's comes wrapped."""

# SQLSTATE: serialization failure and deadlock.
_DEADLOCKS = frozenset({"40001", "40P01"})
_UNIQUE_VIOLATION = "23505"


_WORDS_LIMIT = 300


class DatabaseUnavailable(InternalError):
    """The database does not answer; the same call may succeed later."""


def own_error(error: Exception) -> ApiError:
    """Translate by the first row of the table that fits.

    What becomes an `InternalError` has the driver's words as its `reason`.
    """
    for fits, translate in _TABLE:
        if fits(error):
            own = translate()
            break
    else:
        own = StatementRefused(
            "the database refused a statement; the log has its reason"
        )
    if isinstance(own, InternalError):
        own.reason = driver_words(error)
    return own


def driver_words(error: Exception) -> str:
    """What the driver says, in one line without the statement.

    PostgreSQL quotes values only in further lines; in the first one only for faults in
    the caller's data, which get no `reason`.
    """
    cause = _cause(error) or error
    first = next(iter(str(cause).strip().splitlines()), "")
    return first[:_WORDS_LIMIT] or type(cause).__name__


def worth_retrying(error: Exception) -> bool:
    """Whether the same transaction may succeed now.

    A unique violation means here that another process was faster with the same
    row: the repetition finds that row.
    """
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is not None:
        return state in _DEADLOCKS or state == _UNIQUE_VIOLATION
    return sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _cause(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def sqlstate(error: Exception) -> str | None:
    """PostgreSQL's code of the fault, or `None` where it is not PostgreSQL's."""
    return getattr(_cause(error), "sqlstate", None)


def sqlite_code(error: Exception) -> int:
    """SQLite's code of the fault without its extended part, or 0."""
    code: int = getattr(_cause(error), "sqlite_errorcode", None) or 0
    return code & 0xFF


def _state_in(*prefixes: str) -> Callable[[Exception], bool]:
    return lambda error: (sqlstate(error) or "").startswith(prefixes)


def _code_in(*codes: int) -> Callable[[Exception], bool]:
    return lambda error: sqlite_code(error) in codes


def _is_unstorable_text(error: Exception) -> bool:
    # psycopg refuses NUL characters itself, before there is a sqlstate.
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(_cause(error), psycopg.DataError)


def _is_missing_table(error: Exception) -> bool:
    cause = _cause(error)
    return isinstance(cause, sqlite3.Error) and "no such table" in str(cause)


def _is_lost(error: Exception) -> bool:
    if isinstance(error, (PoolTimeout, OSError)):
        return True
    cause = _cause(error)
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(
        cause, (psycopg.OperationalError, psycopg.InterfaceError)
    ):
        return True
    return isinstance(cause, sqlite3.OperationalError)


# The order counts: the first row that fits is taken, and special ones come first.
_TABLE: tuple[tuple[Callable[[Exception], bool], Callable[[], ApiError]], ...] = (
    (
        lambda error: isinstance(error, PoolTimeout),
        lambda: DatabaseUnavailable(
            "all database connections were busy for too long;"
            " raise database.postgresql.pool_max_size or look for slow statements"
        ),
    ),
    (
        _is_unstorable_text,
        lambda: BadRequest("request", "holds text that the database cannot store"),
    ),
    (
        _state_in("54"),
        lambda: BadRequest("request", "holds a value too long for a database index"),
    ),
    (
        _state_in("42P01", "42703", "3F000"),
        lambda: InternalError(
            "a table or column is missing in the database; run `tocsin migrate`"
        ),
    ),
    (
        _is_missing_table,
        lambda: InternalError(
            "a table is missing in the SQLite file; run `tocsin migrate`"
        ),
    ),
    (
        _state_in("40", _UNIQUE_VIOLATION),
        lambda: DatabaseUnavailable(
            "the same rows are being changed by too many others; try again"
        ),
    ),
    (
        _code_in(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        lambda: DatabaseUnavailable(
            "the SQLite file was locked by another process for too long"
        ),
    ),
    (
        _code_in(sqlite3.SQLITE_FULL),
        lambda: DatabaseUnavailable("the disk of the SQLite file is full"),
    ),
    (
        _code_in(sqlite3.SQLITE_IOERR),
        lambda: DatabaseUnavailable(
            "the disk of the SQLite file fails, or is full: look at the host's log"
        ),
    ),
    (
        _code_in(sqlite3.SQLITE_NOTADB),
        lambda: DatabaseUnavailable("the file of database.sqlite.path is no database"),
    ),
    (
        _code_in(sqlite3.SQLITE_CORRUPT),
        lambda: DatabaseUnavailable(
            "the SQLite file is damaged: restore a backup of it"
        ),
    ),
    (
        _code_in(sqlite3.SQLITE_READONLY),
        lambda: DatabaseUnavailable(
            "the SQLite file or its folder cannot be written: give this user the right"
        ),
    ),
    (
        _state_in("53"),
        lambda: DatabaseUnavailable("PostgreSQL is out of disk, memory or connections"),
    ),
    (
        _state_in("28"),
        lambda: DatabaseUnavailable(
            "PostgreSQL refused the user or password of database.postgresql.dsn"
        ),
    ),
    (
        _is_lost,
        lambda: DatabaseUnavailable(
            "the database cannot be reached; check that it runs and that"
            " database.postgresql.dsn or database.sqlite.path is right"
        ),
    ),
)
