"""`tocsin credentials`: which credentials are refused or slowed down, since when, why.

It works on what workers share, so no server has to run; one that runs takes a change
over within a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tocsin.cli.arguments import one_of, shown
from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end
from tocsin.cli.shell import shell_actor

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.admin.credentials import CredentialService, CredentialStatus
    from tocsin.config import Config

ACTIONS = ("list", "probe", "close")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        metavar="{list,probe,close}",
        type=one_of(ACTIONS),
        help="list (the default): every credential, and why its sends wait; probe:"
        " try one with the next push, to one recipient; close: let all that waits for"
        " it go on",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="integrations to probe or close"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 1 where nothing waits for a named one, 2 for an unknown one."""
    if fault := _find_misuse(args):
        print(f"tocsin credentials {args.action}: {fault}", file=sys.stderr)
        return 2

    async def life(config: Config) -> int:
        from contextlib import AsyncExitStack

        from tocsin.app.admin import build_admin
        from tocsin.app.resources import open_resources

        async with AsyncExitStack() as stack:
            resources = await open_resources(config, stack, as_it_is=True)
            if resources.queue is None:
                print("no queue is configured: push_notifications is off")
                return 2
            if resources.breakers is None:
                print(
                    "without a database or Redis each worker knows for itself which"
                    " credentials are refused: see push_credential_breaker_state of its"
                    " metrics"
                )
                return 2
            service = build_admin(resources).credentials
            return await act(service, args.action, args.names)

    return run_to_its_end(args, life)


def _find_misuse(args: argparse.Namespace) -> str:
    if args.action == "list" and args.names:
        return f"takes no {' '.join(map(shown, args.names))}: only probe and close do"
    if args.action != "list" and not args.names:
        return "name the integrations, as `tocsin credentials` lists them"
    return ""


async def act(
    service: CredentialService,
    action: str,
    names: Sequence[str],
) -> int:
    """List or change; returns the exit code."""
    from tocsin.core.errors import BadRequest

    if action == "list":
        for status in await service.list():
            print(_describe(status))
        return 0
    change = service.probe if action == "probe" else service.close
    done = 0
    for name in dict.fromkeys(names):
        try:
            changed = await change(name, actor=shell_actor())
        except BadRequest as error:
            print(f"{shown(name)} {error.reason}", file=sys.stderr)
            return 2
        if not changed:
            print(f"nothing waits for {name}: its breaker is closed", file=sys.stderr)
            done = 1
            continue
        if action == "probe":
            print(f"{name}: the next push that waits for it is tried")
        else:
            print(f"{name}: closed; what waited for it goes on within seconds")
    return done


def _describe(status: CredentialStatus) -> str:
    breaker = status.breaker
    words = [f"{status.provider:13} {status.integration:20} {status.state.value:10}"]
    if breaker is None:
        return words[0].rstrip()
    words += [
        f"since {_time(breaker.opened_at_ms)}",
        f"{'next probe' if breaker.needs_probe else 'until'} {_time(breaker.until_ms)}",
        f"failed probes {breaker.failed_probes}",
        f"{status.waiting} jobs of {status.provider} wait",
        f"push {breaker.push_id}" if breaker.push_id else "push unknown",
    ]
    if not status.is_configured:
        words.append("(not the key of this configuration)")
    words.append(_in_line(breaker.reason()))
    return "  ".join(words)


def _time(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _in_line(text: str) -> str:
    """What a provider said, without what would move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)
