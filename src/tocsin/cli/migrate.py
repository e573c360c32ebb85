"""`tocsin migrate`: schemas of database and queue. It only starts and reports."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Bring both schemas up to date; does nothing where they are."""
    return run_to_its_end(args, _migrate)


async def _migrate(config: Config) -> int:
    from contextlib import AsyncExitStack

    from tocsin.app.resources import open_resources

    if config.database.kind is None and config.queue_kind in {None, "redis"}:
        print("nothing to migrate: no database is configured")
        return 0
    async with AsyncExitStack() as stack:
        await open_resources(config, stack)
    print("schemas are up to date")
    return 0
