"""Sections of analytics: ClickHouse, and rows in the database. Part of `config`.

It must not connect to anything.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from tocsin.config.clickhouse import check_cluster, check_name, check_ttl, parse_dsn
from tocsin.config.fields import (
    Bool,
    Duration,
    Holds,
    Int,
    Section,
    Shown,
    Text,
    Texts,
)


def _check_dsns(dsns: tuple[str, ...]) -> tuple[str, ...]:
    for dsn in dsns:
        parse_dsn(dsn)
    return dsns


class ExportNotifications(Section):
    """Rows of what became of each push, as they go to ClickHouse."""

    enabled: Bool = False
    """write to the table `notifications`; the rows then leave the database alone"""
    ttl: Annotated[Text, AfterValidator(check_ttl)] = "7 DAY"
    """how long ClickHouse keeps rows; read when the table is made"""
    flush_interval: Annotated[Duration, Field(ge=0.1)] = 10.0
    """longest wait before rows are written"""
    flush_size: Annotated[Int, Field(ge=1, le=1_000_000)] = 100_000
    """rows written at once"""
    max_buffer_size: Annotated[Int, Field(ge=1, le=100_000_000)] = 1_000_000
    """rows kept in memory while ClickHouse is away; beyond it new ones are dropped"""


class ClickHouseExport(Section):
    """What goes to ClickHouse."""

    notifications: ExportNotifications = ExportNotifications()


class ClickHouseAnalytics(Section):
    """Analytics in ClickHouse."""

    enabled: Bool = False
    """master switch of all exports"""
    clickhouse_dsn: Annotated[
        Texts, AfterValidator(_check_dsns), Shown(""), Holds(), Field(repr=False)
    ] = ()
    """http(s)://user:password@host:8123, the HTTP port; of several the next is asked when one is away"""  # noqa: E501 - one row of the page
    clickhouse_database: Annotated[Text, AfterValidator(check_name)] = "centrifugo"
    """made where it is missing"""
    clickhouse_cluster: Annotated[Text, AfterValidator(check_cluster)] = ""
    """given: replicated tables on this cluster, and one more with the ending _distributed"""  # noqa: E501 - one row of the page
    skip_schema_initialization: Bool = False
    """make no table; somebody else does"""
    skip_ping_on_start: Bool = False
    """start although ClickHouse cannot be reached"""
    export: ClickHouseExport = ClickHouseExport()


class Analytics(Section):
    """Analytics in the database, where they do not go to ClickHouse."""

    retention: Duration = 168 * 3600.0
    """how long rows are kept; 0 = none are written"""
