"""`tocsin serve`: the API server. It only parses options and starts the process."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import reread, run_process

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config


_NO_CONFIGURATION = (
    "no configuration: only health is answered. Write a file with a key and a"
    " provider and pass it as --config FILE; `tocsin demo` shows it all"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then drain; changes are read anew meanwhile."""
    from tocsin.app.reloading import Source
    from tocsin.app.server import run_server

    source = Source(args.config, lambda: reread(args))
    return run_process(
        args,
        lambda config, stopper: run_server(config, stopper, source=source),
        fault=_find_fault,
        hint_without=_NO_CONFIGURATION,
    )


def _find_fault(config: Config) -> str:
    from tocsin.app.realtime_settings import find_realtime_faults

    return "; ".join(find_realtime_faults(config))
