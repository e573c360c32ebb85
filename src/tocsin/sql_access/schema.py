"""Brings the tables of one room to this release's schema, one process at a time.

Alembic does the work, and is loaded only when there is some. It must not know a table.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from alembic.config import Config

_upgrading = threading.Lock()
"""Held while revisions run: they use Alembic's `op`, which is one global object."""


class MigrationError(Exception):
    """The schema cannot be brought to this release's; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The revisions of one room's tables, and the table that counts them.

    Rooms may share a database, each with a version table of its own. All work
    happens on the connection that is given, in its transaction.
    """

    folder: Path
    """Holds `versions`, package data."""
    head: str
    """The newest revision there: a constant, so that looking loads no Alembic."""
    version_table: str
    lock: ColumnElement[int]
    """The key of PostgreSQL's advisory lock for migrations. It must never change:
    processes of older releases have to wait at the same lock."""
    is_at: str
    """The beginning of messages; the name of a revision follows it."""
    absent: str
    """What to say of a database without these tables."""
    newer: str = "run the newer release"
    options: Mapping[str, str] = field(default_factory=dict)
    """What revisions find in `op.get_context().opts`."""
    find_unstamped: Callable[[Connection], str | None] = lambda _connection: None
    """The revision that equals tables which were made without Alembic, or `None`."""

    async def fetch_revision(self, connection: AsyncConnection) -> str | None:
        """The revision that the tables are at, `None` where there are none."""
        return await connection.run_sync(self._find_revision)

    async def require_head(self, connection: AsyncConnection) -> None:
        """Raise `MigrationError` unless the tables are up to date; changes nothing."""
        found = await self.fetch_revision(connection)
        if found == self.head:
            return
        if found is None:
            raise MigrationError(self.absent)
        if not await connection.run_sync(self._knows, found):
            raise self._newer(found)
        raise MigrationError(
            f"{self.is_at} {found}, this release needs {self.head}: run"
            " `tocsin migrate`"
        )

    async def is_settled(self, connection: AsyncConnection) -> bool:
        """Whether `migrate` would find nothing to do; waits for no lock."""
        return await connection.run_sync(self._find_stamp) == self.head

    async def migrate(self, connection: AsyncConnection) -> list[str]:
        """Apply what is missing; returns the revisions applied.

        Safe while other processes do the same: one applies, the others wait for it.
        On SQLite the transaction must be one that writes from its start. Raises
        `MigrationError` for tables that a newer release has made.
        """
        if connection.dialect.name == "postgresql":
            await connection.execute(select(func.pg_advisory_xact_lock(self.lock)))
        # Checked again under the lock: whoever held it before may have migrated.
        if await self.is_settled(connection):
            return []
        # Polled, not waited for in a thread: the holder may need this loop to go on.
        while not _upgrading.acquire(blocking=False):  # noqa: ASYNC110 - of several loops
            await asyncio.sleep(0.01)
        try:
            return await connection.run_sync(self._upgrade)
        finally:
            _upgrading.release()

    def build_config(self, connection: Connection) -> Config:
        """Alembic's settings for this connection; nothing is read from a file."""
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", _path(Path(__file__).parent))
        # Every other separator may stand in a path.
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", _path(self.folder / "versions"))
        config.attributes["configure"] = {
            "connection": connection,
            "version_table": self.version_table,
            **self.options,
        }
        return config

    def _find_revision(self, connection: Connection) -> str | None:
        return self._find_stamp(connection) or self.find_unstamped(connection)

    def _find_stamp(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(self.version_table):
            return None
        found = connection.scalar(text(f"SELECT version_num FROM {self.version_table}"))  # noqa: S608 - no input
        return None if found is None else str(found)

    def _knows(self, connection: Connection, revision: str) -> bool:
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory.from_config(self.build_config(connection))
        return revision in {script.revision for script in scripts.walk_revisions()}

    def _upgrade(self, connection: Connection) -> list[str]:
        from alembic import command
        from alembic.script import ScriptDirectory

        before = self._find_revision(connection)
        if before is not None and not self._knows(connection, before):
            raise self._newer(before)
        config = self.build_config(connection)
        if self._find_stamp(connection) is None and before is not None:
            # Tables from before Alembic: their revision is noted, then the
            # rest is applied.
            command.stamp(config, before)
        scripts = ScriptDirectory.from_config(config)
        pending = [each.revision for each in scripts.iterate_revisions("head", before)]
        command.upgrade(config, "head")
        return pending[::-1]

    def _newer(self, found: str) -> MigrationError:
        return MigrationError(
            f"{self.is_at} {found}, this release knows up to {self.head}: {self.newer}"
        )


def _path(folder: Path) -> str:
    # A percent sign begins an interpolation in Alembic's settings.
    return str(folder).replace("%", "%%")
