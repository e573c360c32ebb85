"""`tocsin simulate`: push services on this machine, for trying out and for tests.

It must not be pointed at from production: whatever it accepts reaches nobody.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.arguments import port
from tocsin.cli.configuration import add_log_config, read_log_level
from tocsin.core.push_services import SERVICES, PushService

if TYPE_CHECKING:  # asyncio and cryptography cost more than all of `--help` may
    from tocsin.app.lifecycle import Stopper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "--dir",
        default="simulator",
        metavar="DIR",
        help="folder for its CA, keys and service account (default: ./simulator)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=port, default=9443, help="port to listen on; 0 takes a free one"
    )
    for service in _own_ports():
        parser.add_argument(
            f"--{service.name}-port",
            type=port,
            metavar="PORT",
            help=f"port of the imitated {service.title}"
            " (default: the one after --port)",
        )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="for benchmarks: accept every send unread, only count",
    )
    add_log_config(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 1 where the port or the folder cannot be used."""
    level = read_log_level(args, "info")
    if level is None:
        return 2
    from tocsin.api.listening import ListenError, join_address
    from tocsin.app.lifecycle import run as run_loop
    from tocsin.simulator.server import PortTaken
    from tocsin.telemetry.logs import configure_logging

    configure_logging(level, stream=sys.stderr)
    try:
        return run_loop(lambda stopper: _serve(args, stopper))
    except PortTaken as error:
        address = join_address(args.host, error.port)
        setting = f"--{error.service}-port" if error.service else "--port"
        told: Exception = ListenError(address, setting, error.reason)
    except OSError as error:
        folder = Path(args.dir).absolute()
        told = RuntimeError(f"the folder {folder} cannot be used: {error}")
    print(f"tocsin simulate: {told}", file=sys.stderr)
    return 1


async def _serve(args: argparse.Namespace, stopper: Stopper) -> int:
    from tocsin.simulator.configuration import push_notifications
    from tocsin.simulator.server import Simulator

    own_ports = {}
    for number, service in enumerate(_own_ports(), 1):
        chosen = getattr(args, f"{service.section}_port")
        if chosen is None:
            chosen = args.port + number if 0 < args.port <= 65535 - number else 0
        own_ports[service.name] = chosen
    simulator = Simulator(
        args.dir,
        host=args.host,
        port=args.port,
        own_ports=own_ports,
        fast=args.fast,
    )
    await simulator.start()
    try:
        curl = f"curl --cacert {simulator.ca_file} {simulator.origin}/control"
        for what, value in (
            ("origin", simulator.origin),
            ("ca file", simulator.ca_file),
            *simulator.facts(),
            ("what happened", f"{curl}/stats"),
            ("make it fail", f"{curl}/faults -d '{_EXAMPLE}'"),
        ):
            print(f"{what:<19}{value}")
        section = push_notifications(simulator)
        print("\nThe keys that lead here, for a configuration in JSON:\n")
        print(json.dumps({"push_notifications": section}, indent=2))
        sys.stdout.flush()
        await stopper.wait()
    finally:
        await simulator.stop()
    return 0


def _own_ports() -> list[PushService]:
    """The services whose imitation does not share the common port."""
    return [service for service in SERVICES.values() if service.has_own_port]


_EXAMPLE = '{"send":{"fault":"unavailable","times":10}}'
