"""`tocsin queue`: how much waits, the dead letters, the move to another engine.

What it does with dead letters is in `letters.py`. It knows no queue technology.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tocsin.cli import letters
from tocsin.cli.arguments import one_of
from tocsin.cli.configuration import add_config_arguments, read_config
from tocsin.cli.process import run_to_its_end
from tocsin.cli.shell import shell_actor

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config
    from tocsin.core.ports.queue import Backlog

ACTIONS = ("status", *letters.LETTER_ACTIONS, "drain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "action",
        nargs="?",
        metavar="ACTION",
        type=one_of(ACTIONS),
        help="status: what waits; dead: list dead letters; reasons: count them by"
        " reason; show: one with its job; replay: send them again; purge: forget them"
        " for good; drain: move everything into the queue of another configuration",
    )
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="dead letters to show, replay or purge"
    )
    letters.add_arguments(parser)
    parser.add_argument(
        "--to", metavar="FILE", help="drain: the configuration with the new queue"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 1 when an id was unknown, 2 when none was given.

    For `drain`, 1 when a living worker held entries.
    """
    if fault := _find_misuse(args):
        print(f"tocsin {fault}", file=sys.stderr)
        return 2
    if args.action == "drain":
        return _run_drain(args)

    async def life(config: Config) -> int:
        from contextlib import AsyncExitStack

        from tocsin.app.admin import build_admin
        from tocsin.app.resources import open_resources

        async with AsyncExitStack() as stack:
            resources = await open_resources(config, stack, as_it_is=True)
            if resources.queue is None:
                print("no queue is configured: push_notifications is off")
                return 2
            providers = tuple(config.push_notifications.active_providers)
            if args.action == "status":
                return await print_status(resources.queue, providers)
            try:
                order = letters.read_order(args, providers)
            except ValueError as error:
                print(f"queue {args.action}: {error}", file=sys.stderr)
                return 2
            service = build_admin(resources).dead_letters
            return await letters.act(service, order, actor=shell_actor())

    return run_to_its_end(args, life)


def _find_misuse(args: argparse.Namespace) -> str:
    action = args.action
    if action is None:
        return f"queue: name what to do: {', '.join(ACTIONS)}"
    if args.to is not None and action != "drain":
        return f"queue {action} takes no --to: only drain does"
    if fault := letters.find_misuse(args):
        return fault
    if action == "drain" and not args.to:
        return "queue drain: name the configuration with the new queue: --to FILE"
    return ""


def _run_drain(args: argparse.Namespace) -> int:
    # Without the environment: this shell's variables belong to the old queue, and the
    # new one is described by its file alone.
    target = read_config(argparse.Namespace(config=args.to, overrides={}), environ={})
    if target is None:
        return 2

    async def life(config: Config) -> int:
        return await _drain(config, target.config)

    return run_to_its_end(args, life)


async def _drain(source: Config, target: Config) -> int:
    from contextlib import AsyncExitStack

    from tocsin.app.admin import open_audit
    from tocsin.app.moving import is_same_queue, move_queue, open_stock

    for config in (source, target):
        if config.queue_kind is None:
            print("no queue is configured: push_notifications is off")
            return 2
    if is_same_queue(source, target):
        print("both configurations name the same queue: there is nothing to move")
        return 2
    async with AsyncExitStack() as stack:
        old = await open_stock(source, stack, as_it_is=True)
        new = await open_stock(target, stack)
        if held := await old.count_held():
            print(_held_words(held, source))
            return 1
        audit = await open_audit(source, stack)
        async with audit.entry(shell_actor(), "drain_queue", {}) as outcome:
            moved = await move_queue(old, new)
            outcome.count = moved.entries + moved.letters
    print(
        f"moved {moved.entries} jobs ({moved.delayed} of them due later) and"
        f" {moved.letters} dead letters"
    )
    if moved.held:
        print(_held_words(moved.held, source))
    return 1 if moved.held else 0


def _held_words(held: int, source: Config) -> str:
    takeover_s = source.push_notifications.retry.takeover
    return (
        f"{held} jobs are in the hands of a worker: stop the workers of the old queue"
        f" and drain again (after a crash, {takeover_s:g} s later)"
    )


async def print_status(queue: Backlog, providers: Sequence[str]) -> int:
    """How much waits in the queues of these providers."""
    from tocsin.core.lanes import parse_queue_name, queue_names

    names = [name for provider in providers for name in queue_names(provider)]
    due = await queue.waiting(names, only_due=True)
    # Nobody misses the retries of a lane where there are none.
    shown = {
        name: count
        for name, count in (await queue.waiting(names)).items()
        if count or not parse_queue_name(name).is_retry
    }
    width = max(24, *map(len, shown))
    for name, count in shown.items():
        later = count - due[name]
        more = f", {later} of them due later" if later > 0 else ""
        print(f"{name:{width}} {count:>8} jobs waiting{more}")
    return 0
