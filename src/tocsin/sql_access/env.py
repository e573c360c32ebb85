"""Run by Alembic only: hands it the connection and transaction of `Schema.migrate`.

It must not open connections nor set up logging.
"""

from __future__ import annotations

from alembic import context

# Revisions write by hand what they do: the tables of today are not theirs.
context.configure(**context.config.attributes["configure"])
context.run_migrations()
