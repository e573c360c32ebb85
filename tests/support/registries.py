"""The registry's stores on both databases and in memory, behind one opener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.memory_letter_copies import MemoryLetterCopies
from tests.support.memory_registry import (
    MemoryAudit,
    MemoryDevices,
    MemoryReceipts,
    MemoryRegistry,
    MemoryUserTopics,
    MemoryVerdicts,
)
from tests.support.memory_results import MemoryResults
from tests.support.memory_send_log import MemorySendLog

from tocsin.core.ports.audit import AuditStore
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.devices import DeviceStore, UserTopicStore, VerdictStore
from tocsin.core.ports.queue_stock import LetterCopies
from tocsin.core.ports.receipts import ReceiptStore
from tocsin.core.ports.results import ResultStore
from tocsin.storage.audit_log import SqlAuditStore
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.letter_copies import SqlLetterCopies
from tocsin.storage.results import SqlResultStore
from tocsin.storage.send_log import SqlSendLog
from tocsin.storage.tickets import SqlReceiptStore
from tocsin.storage.user_topics import SqlUserTopicStore
from tocsin.storage.verdicts import SqlVerdictStore

if TYPE_CHECKING:
    import pytest

DATABASES = ("sqlite", "postgresql")
"""Where other programs write too, such as an older release of this one."""
MEMORY = "memory"
"""The registry of unit tests; it is held to the contracts of the databases."""
REGISTRIES = (*DATABASES, MEMORY)


class RegistryPlace:
    """One registry without data: the tables of a database, or memory."""

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._memory = MemoryRegistry()

    @property
    def database(self) -> Database:
        """Its tables; only places in `DATABASES` have any."""
        assert self._database is not None
        return self._database

    def devices(self, clock: Clock, *, topics_per_device: int = 1000) -> DeviceStore:
        """A device store; all stores of a place see the same rows."""
        if self._database is None:
            return MemoryDevices(
                self._memory, clock=clock, topics_per_device=topics_per_device
            )
        return SqlDeviceStore(
            self._database, clock=clock, topics_per_device=topics_per_device
        )

    def user_topics(self, *, topics_per_user: int = 1000) -> UserTopicStore:
        """A store of users' topics."""
        if self._database is None:
            return MemoryUserTopics(self._memory, topics_per_user=topics_per_user)
        return SqlUserTopicStore(self._database, topics_per_user=topics_per_user)

    def verdicts(self, clock: Clock) -> VerdictStore:
        """A store of what credentials were answered."""
        if self._database is None:
            return MemoryVerdicts(self._memory, clock=clock)
        return SqlVerdictStore(self._database, clock=clock)

    def audit(self) -> AuditStore:
        """A store of administrative calls."""
        if self._database is None:
            return MemoryAudit()
        return SqlAuditStore(self._database)

    def send_log(self, clock: Clock) -> MemorySendLog | SqlSendLog:
        """The send log."""
        if self._database is None:
            return MemorySendLog(clock)
        return SqlSendLog(self._database, clock=clock)

    def letter_copies(self) -> LetterCopies:
        """Copies of dead letters."""
        if self._database is None:
            return MemoryLetterCopies()
        return SqlLetterCopies(self._database)

    def results(self, clock: Clock) -> ResultStore:
        """A store of results."""
        if self._database is None:
            return MemoryResults(clock)
        return SqlResultStore(self._database, clock=clock)

    def receipts(self) -> ReceiptStore:
        """A store of tickets."""
        if self._database is None:
            return MemoryReceipts()
        return SqlReceiptStore(self._database)


@asynccontextmanager
async def registry_for(
    request: pytest.FixtureRequest, kind: str
) -> AsyncIterator[RegistryPlace]:
    """The life of one registry; the body of a fixture."""
    if kind == MEMORY:
        yield RegistryPlace(None)
        return
    if kind == "sqlite":
        database = open_sqlite(request.getfixturevalue("migrated_sqlite_path"))
    else:
        database = open_postgres(request.getfixturevalue("migrated_postgres_dsn"))
    yield RegistryPlace(database)
    await database.close()
