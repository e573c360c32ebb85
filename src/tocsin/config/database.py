"""Sections of the database. Part of `config`; it must not connect to anything."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tocsin.config.fields import (
    Bool,
    Holds,
    Int,
    Kind,
    Section,
    Shown,
    Text,
    Texts,
)

DatabaseKind = Literal["postgresql", "sqlite"]


def _check_dsn(value: str) -> str:
    value = value.strip()
    if value and "=" not in value.partition("?")[0]:
        scheme, colon, rest = value.partition("://")
        if not colon or scheme not in ("postgresql", "postgres") or not rest:
            raise ValueError(
                "must be written as libpq takes it: postgresql://user@host/name "
                "or host=... dbname=..."
            )
    return value


def _check_dsns(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_check_dsn(value) for value in values)


Dsn = Annotated[Text, AfterValidator(_check_dsn), Holds(), Field(repr=False)]


class Postgresql(Section):
    """A PostgreSQL database."""

    dsn: Dsn = ""
    """as libpq writes it: postgresql://user:password@host:5432/name"""
    replica_dsn: Annotated[
        Texts,
        AfterValidator(_check_dsns),
        Kind("list"),
        Shown(""),
        Holds(),
        Field(repr=False),
    ] = ()
    """replicas for push_notifications.read_from_replica, each as dsn"""
    pool_max_size: Annotated[Int, Field(ge=1, le=10_000)] = 16
    """connections at most per process; a worker has one more where the queue is here"""
    pgbouncer: Bool = False
    """a pooler that shares connections between transactions stands before PostgreSQL: no statement is prepared; without the key it is noticed by itself"""  # noqa: E501 - one row of the page


class Sqlite(Section):
    """The embedded database."""

    path: Annotated[Text, Field(min_length=1)] = "tocsin.db"
    """file of the embedded database; not together with database.postgresql.dsn"""


class Database(Section):
    """Where devices, topics and results are kept."""

    enabled: Annotated[
        Bool, Shown("true when a dsn or a sqlite path is given, or with no config")
    ] = False
    """without a database only raw and native sends work"""
    postgresql: Postgresql = Postgresql()
    sqlite: Sqlite = Sqlite()

    @property
    def sqlite_given(self) -> bool:
        """Whether the configuration names a SQLite file."""
        return "path" in self.sqlite.model_fields_set

    @model_validator(mode="after")
    def _resolve_enabled(self) -> Self:
        if "enabled" not in self.model_fields_set:
            # Written past the frozen attribute: the object is still being made.
            self.__dict__["enabled"] = bool(self.postgresql.dsn) or self.sqlite_given
        return self

    @property
    def kind(self) -> DatabaseKind | None:
        """Which database is in use, or `None` for none."""
        if not self.enabled:
            return None
        return "postgresql" if self.postgresql.dsn else "sqlite"
