"""`tocsin devices`: what was removed from the registry, or shall be, and the way back.

It works on the registry through its port, as the configuration names it, so no
server has to run; one that runs is not disturbed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tocsin.cli.arguments import one_of
from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end
from tocsin.cli.shell import shell_actor
from tocsin.cli.times import read_time

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.admin.removals import RemovalService
    from tocsin.config import Config
    from tocsin.core.device import RemovedFilter, RemovedGroup
    from tocsin.core.ports.devices import DeviceStore

BATCH = 1000
"""Devices restored in one transaction."""

DECISIONS = ("list", "approve", "restore")

_LISTS = {
    "id": ("ids", "ids of devices"),
    "user": ("users", "devices of this user"),
    "topic": ("topics", "devices that hold this topic"),
    "provider": ("providers", "devices of this provider"),
    "integration": ("integrations", "devices of this integration"),
    "reason": ("reasons", "removed for this, as `devices removed` prints it"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "action",
        type=one_of(("removed", "restore", "removals")),
        metavar="{removed,restore,removals}",
        help="removed: count what was removed in the last 30 days, by reason;"
        " restore: bring it back, with its topics; removals: what providers call dead"
        " and is held for a person, since it is so much",
    )
    parser.add_argument(
        "decision",
        nargs="?",
        type=one_of(DECISIONS),
        metavar="{list,approve,restore}",
        help="removals: count what is held (the default), remove it, or let it stay",
    )
    for name, (field, text) in _LISTS.items():
        parser.add_argument(
            f"--{name}",
            dest=field,
            action="append",
            default=[],
            metavar=name.upper(),
            help=f"only {text}; may be given several times",
        )
    for name, text in (("since", "removed then or later"), ("until", "removed before")):
        parser.add_argument(
            f"--{name}",
            metavar="TIME",
            help=f"only {text}: 2026-11-28T06:00:00Z, or 90m for 90 minutes ago",
        )
    parser.add_argument(
        "--all",
        action="store_true",
        help="restore, approve: everything that was removed, or is held",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="restore: only say how many it would be"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 2 for a time that cannot be read, or no choice of devices."""
    try:
        chosen = read_filter(args, now_s=time.time())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2

    async def work(config: Config) -> int:
        from contextlib import AsyncExitStack
        from dataclasses import asdict

        from tocsin.app.admin import build_admin
        from tocsin.app.resources import open_resources

        async with AsyncExitStack() as stack:
            resources = await open_resources(config, stack, as_it_is=True)
            if resources.devices is None:
                print("no database is configured, so there are no devices")
                return 2
            devices, action = resources.devices, args.action
            if action == "removals":
                return await decide(
                    build_admin(resources).removals,
                    args.decision or "list",
                    chosen,
                    everything=args.all,
                )
            if action == "removed" or args.dry_run:
                return await act(devices, action, chosen, dry_run=args.dry_run)
            audit = build_admin(resources).audit
            subject = asdict(chosen) | {"all": args.all}
            async with audit.entry(
                shell_actor(), "restore_devices", subject
            ) as outcome:
                outcome.count = await restore(devices, chosen)
            return 0

    return run_to_its_end(args, work)


def read_filter(args: argparse.Namespace, *, now_s: float) -> RemovedFilter:
    """What the options select; ValueError says what is wrong with them."""
    from tocsin.core.device import RemovedFilter
    from tocsin.core.push_services import SERVICES

    chosen = RemovedFilter(
        **{field: tuple(getattr(args, field)) for field, _ in _LISTS.values()},
        since_ms=read_time("--since", args.since, now_s),
        until_ms=read_time("--until", args.until, now_s),
    )
    if unknown := [name for name in chosen.providers if name not in SERVICES]:
        raise ValueError(f"--provider: {unknown[0]!r} is none of {', '.join(SERVICES)}")
    if args.action != "removals" and args.decision:
        raise ValueError(f"devices {args.action} takes no {args.decision}")
    if args.action == "removals" and args.dry_run:
        raise ValueError("devices removals takes no --dry-run: `list` counts them")
    if args.action == "removed" or _only_counts(args):
        if args.all or args.dry_run:
            raise ValueError("devices removed and removals list take no --all")
        return chosen
    if chosen.is_empty() and not args.all:
        raise ValueError(
            f"say what to {args.decision or args.action}: --reason, --since,"
            " --integration, --user, … or --all"
        )
    if not chosen.is_empty() and args.all:
        raise ValueError("--all means everything: leave out the other options")
    return chosen


def _only_counts(args: argparse.Namespace) -> bool:
    return args.action == "removals" and args.decision in (None, "list")


async def act(
    devices: DeviceStore, action: str, chosen: RemovedFilter, *, dry_run: bool = False
) -> int:
    """Count or restore; returns the exit code."""
    if action == "removed" or dry_run:
        words = "would be restored" if dry_run else "removed devices"
        _print_groups(await devices.count_removed(chosen), words)
        return 0
    await restore(devices, chosen)
    return 0


async def restore(devices: DeviceStore, chosen: RemovedFilter) -> int:
    """Bring devices back; returns how many."""
    done = 0
    while restored := await devices.restore_removed(chosen, limit=BATCH):
        done += len(restored)
        if not done % (10 * BATCH):
            print(f"{done} so far", file=sys.stderr)
    print(f"restored {done} devices")
    return done


async def decide(
    service: RemovalService, decision: str, chosen: RemovedFilter, *, everything: bool
) -> int:
    """Count held removals, or end them; returns the exit code."""
    if decision == "list":
        groups = await service.list(chosen)
        _print_groups(groups, "devices are held; they are sent to until you decide")
        return 0
    actor = shell_actor()
    if decision == "approve":
        done = await service.approve(chosen, actor=actor, everything=everything)
        print(f"removed {done} devices; `tocsin devices restore` undoes it for 30 days")
        return 0
    done = await service.restore(chosen, actor=actor, everything=everything)
    print(f"{done} devices stay")
    return 0


def _print_groups(groups: Sequence[RemovedGroup], words: str) -> None:
    total = 0
    for group in groups:
        total += group.count
        name = group.integration or group.provider
        reason = group.reason or "unknown"
        print(f"{group.count:>10}  {group.provider:13} {name:20} {reason}")
    print(f"{total:>10}  {words}")
