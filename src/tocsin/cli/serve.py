"""`tocsin serve`: the API server. It only parses options and starts the process."""

from __future__ import annotations

import argparse

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then drain."""
    from tocsin.app.server import run_server

    return run_process(args, run_server)
