"""`tocsin worker`: sends what is queued. It only parses options and starts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import reread, run_process

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT, then drain; changes are read anew meanwhile."""
    from tocsin.app.reloading import Source
    from tocsin.app.worker import run_worker

    source = Source(args.config, lambda: reread(args))
    return run_process(
        args,
        lambda config, stopper: run_worker(config, stopper, source=source),
        fault=_find_fault,
    )


def _find_fault(config: Config) -> str:
    if config.push_notifications.enabled:
        return ""
    return (
        "a worker has nothing to do: set push_notifications.enabled_providers,"
        " and the queue that the server uses"
    )
