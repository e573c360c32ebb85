"""Run by Alembic only: hands it the connection and transaction of `migrate`.

Part of the storage room; it must not open connections nor set up logging.
"""

from __future__ import annotations

from alembic import context

from tocsin.storage.migrations import VERSION_TABLE

# Revisions write by hand what they do: the tables of today are not theirs.
context.configure(
    connection=context.config.attributes["connection"], version_table=VERSION_TABLE
)
context.run_migrations()
