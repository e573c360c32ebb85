"""`tocsin simulate`: push services on this machine, for trying out and for tests.

It must not be pointed at from production: whatever it accepts reaches nobody.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.arguments import port
from tocsin.cli.configuration import add_log_config, read_log_level

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
    parser.add_argument(
        "--apns-port",
        type=port,
        metavar="PORT",
        help="port of the imitated APNs (default: the one after --port)",
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
        setting = "--apns-port" if error.is_apns else "--port"
        told: Exception = ListenError(address, setting, error.reason)
    except OSError as error:
        folder = Path(args.dir).absolute()
        told = RuntimeError(f"the folder {folder} cannot be used: {error}")
    print(f"tocsin simulate: {told}", file=sys.stderr)
    return 1


async def _serve(args: argparse.Namespace, stopper: Stopper) -> int:
    from tocsin.simulator.configuration import push_notifications
    from tocsin.simulator.server import Simulator

    apns_port = args.apns_port
    if apns_port is None:
        apns_port = args.port + 1 if 0 < args.port < 65535 else 0
    simulator = Simulator(
        args.dir,
        host=args.host,
        port=args.port,
        apns_port=apns_port,
        fast=args.fast,
    )
    await simulator.start()
    try:
        curl = f"curl --cacert {simulator.ca_file} {simulator.origin}/control"
        for what, value in (
            ("origin", simulator.origin),
            ("ca file", simulator.ca_file),
            ("service account", simulator.service_account_file),
            ("APNs origin", simulator.apns_origin),
            ("APNs bundle id", simulator.apns_bundle_id),
            ("APNs team id", simulator.apns_team_id),
            ("APNs key id", simulator.apns_key_id),
            ("APNs key", simulator.apns_key_file),
            ("APNs p12", simulator.apns_p12_file),
            ("APNs p12 password", simulator.apns_p12_password),
            ("what happened", f"{curl}/stats"),
            ("make it fail", f"{curl}/faults -d '{_EXAMPLE}'"),
            *_credentials(simulator.origin),
        ):
            print(f"{what:<19}{value}")
        section = push_notifications(simulator, args.dir)
        print("\nThe keys that lead here, for a configuration in JSON:\n")
        print(json.dumps({"push_notifications": section}, indent=2))
        sys.stdout.flush()
        await stopper.wait()
    finally:
        await simulator.stop()
    return 0


def _credentials(origin: str) -> Iterator[tuple[str, str]]:
    """What the other services take, as their configuration keys want it."""
    from tocsin.simulator import (
        expo,
        hms,
        one_signal,
        push_webhook,
        pusher_beams,
        pushpad,
    )

    yield "HMS app id", hms.APP_ID
    yield "HMS app secret", hms.APP_SECRET
    yield "HMS project id", hms.PROJECT_ID
    yield "Expo access token", expo.ACCESS_TOKEN
    yield "OneSignal app id", one_signal.APP_ID
    yield "OneSignal API key", one_signal.API_KEY
    yield "webhook url", origin + push_webhook.PATH
    yield "webhook secret", push_webhook.SECRET
    yield "Beams instance id", pusher_beams.INSTANCE_ID
    yield "Beams secret key", pusher_beams.SECRET_KEY
    yield "Pushpad project id", pushpad.PROJECT_ID
    yield "Pushpad auth token", pushpad.AUTH_TOKEN


_EXAMPLE = '{"send":{"fault":"unavailable","times":10}}'
