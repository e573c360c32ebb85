"""The table from foreign exceptions to own errors."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tocsin.core.errors import BadRequest, InternalError, StatementRefused
from tocsin.storage.errors import DatabaseUnavailable, own_error, worth_retrying


def wrapped(error: Exception, *, lost: bool = False) -> DBAPIError:
    return DBAPIError("SELECT", {}, error, connection_invalidated=lost)


def busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY | (2 << 8)  # busy snapshot
    return error


def coded(code: int) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "own", "words"),
    [
        (PoolTimeout(), DatabaseUnavailable, "pool_max_size"),
        (wrapped(psycopg.DataError("NUL")), BadRequest, "cannot store"),
        (wrapped(pg.ProgramLimitExceeded()), BadRequest, "too long"),
        (wrapped(pg.UndefinedTable()), InternalError, "tocsin migrate"),
        (wrapped(sqlite3.OperationalError("no such table: x")), InternalError, "migra"),
        (wrapped(pg.DeadlockDetected()), DatabaseUnavailable, "try again"),
        (wrapped(busy()), DatabaseUnavailable, "locked"),
        (wrapped(coded(sqlite3.SQLITE_NOTADB)), DatabaseUnavailable, "is no database"),
        (wrapped(coded(sqlite3.SQLITE_READONLY)), DatabaseUnavailable, "cannot be wri"),
        (wrapped(coded(sqlite3.SQLITE_CORRUPT)), DatabaseUnavailable, "damaged"),
        (wrapped(pg.TooManyConnections()), DatabaseUnavailable, "connections"),
        (wrapped(pg.InvalidPassword()), DatabaseUnavailable, "password of"),
        (wrapped(psycopg.OperationalError("gone")), DatabaseUnavailable, "reached"),
        (wrapped(pg.SyntaxError("x")), StatementRefused, "refused a statement"),
    ],
)
def test_foreign_becomes_own(
    error: Exception, own: type[Exception], words: str
) -> None:
    """Each row of the table says what happened and what to do."""
    result = own_error(error)
    assert type(result) is own
    assert words in str(result)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (wrapped(pg.DeadlockDetected()), True),
        (wrapped(pg.SerializationFailure()), True),
        (wrapped(pg.UniqueViolation()), True),
        (wrapped(busy()), True),
        (wrapped(psycopg.OperationalError("x"), lost=True), True),
        (wrapped(psycopg.OperationalError("x")), False),
        (wrapped(pg.NotNullViolation()), False),
        (wrapped(sqlite3.IntegrityError("x")), False),
        (PoolTimeout(), False),
    ],
)
def test_only_passing_faults_are_retried(error: Exception, expected: bool) -> None:
    """A collision or a lost connection may pass, the rest does not."""
    assert worth_retrying(error) is expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (wrapped(coded(sqlite3.SQLITE_NOTADB)), "words"),
        (wrapped(psycopg.OperationalError("no route\n\tto host")), "no route"),
        (wrapped(pg.SyntaxError("near x")), "near x"),
        (OSError(28, "No space left"), "[Errno 28] No space left"),
    ],
)
def test_the_drivers_words_are_for_the_log(error: Exception, reason: str) -> None:
    """They are the reason in one line without values, and no part of the answer."""
    result = own_error(error)
    assert isinstance(result, InternalError)
    assert result.reason == reason
    assert reason not in result.message
