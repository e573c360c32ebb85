"""Sections of the database. Part of `config`; it must not connect to anything."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tocsin.config.fields import (
    AnyText,
    Bool,
    Holds,
    Int,
    Kind,
    NamesFile,
    Section,
    Shown,
    Text,
    parse_texts,
)
from tocsin.config.postgres_dsns import parse_postgres

DatabaseKind = Literal["postgresql", "sqlite"]


_SQLITE = NamesFile("name a file; a PostgreSQL goes into database.postgresql.dsn")


def _check_dsn(value: str) -> str:
    value = value.strip()
    if value:
        parse_postgres(value)
    return value


def _check_dsns(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_check_dsn(value) for value in values)


def _parse_dsns(value: object) -> object:
    """As a list of texts, but text is split at commas and blanks between URLs only.

    A dsn of words has blanks inside, one of several hosts has commas.
    """
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return parse_texts(value)
    return tuple(filter(None, map(str.strip, _BETWEEN.split(value))))


_BETWEEN = re.compile(r"[,\s]+(?=postgres(?:ql)?://)")

Dsn = Annotated[Text, AfterValidator(_check_dsn), Holds(), Field(repr=False)]


class Postgresql(Section):
    """A PostgreSQL database."""

    dsn: Dsn = ""
    """as libpq writes it: postgresql://user:password@host:5432/name"""
    replica_dsn: Annotated[
        tuple[str, ...],
        BeforeValidator(_parse_dsns),
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

    path: Annotated[
        AnyText, AfterValidator(_SQLITE.check), _SQLITE, Field(min_length=1)
    ] = "tocsin.db"
    """file of the embedded database; not together with database.postgresql.dsn"""


class DatabaseSection(Section):
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
