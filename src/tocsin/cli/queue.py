"""`tocsin queue`: how much waits, the dead letters, the move to another engine.

It reads and moves entries through the queue port, and knows no queue technology.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tocsin.cli.arguments import one_of, shown
from tocsin.cli.configuration import add_config_arguments, read_config
from tocsin.cli.process import run_to_its_end

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config
    from tocsin.core.ports.queue import JobOperator
    from tocsin.core.push import DeadLetter

PAGE = 100
ACTIONS = ("status", "dead", "replay", "purge", "drain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "action",
        nargs="?",
        metavar="ACTION",
        type=one_of(ACTIONS),
        help="status: what waits; dead: list dead letters; replay: send them again;"
        " purge: forget them for good; drain: move everything into the queue of"
        " another configuration",
    )
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="dead letters to replay or purge"
    )
    parser.add_argument(
        "--all", action="store_true", help="replay or purge every dead letter"
    )
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

        from tocsin.app.resources import open_resources

        async with AsyncExitStack() as stack:
            resources = await open_resources(config, stack, as_it_is=True)
            if resources.queue is None:
                print("no queue is configured: push_notifications is off")
                return 2
            if args.action == "replay" and resources.breakers is not None:
                from tocsin.admin.halts import lift_halts

                await lift_halts(resources.breakers)
            providers = config.push_notifications.active_providers
            ids = None if args.all else list(args.ids)
            return await act(resources.queue, args.action, ids, providers=providers)

    return run_to_its_end(args, life)


def _find_misuse(args: argparse.Namespace) -> str:
    action = args.action
    if action is None:
        return f"queue: name what to do: {', '.join(ACTIONS)}"
    if args.to is not None and action != "drain":
        return f"queue {action} takes no --to: only drain does"
    if action in ("replay", "purge"):
        if args.ids and args.all:
            return f"queue {action} takes either dead letters or --all, not both"
        if not args.ids and not args.all:
            return f"queue {action}: name the dead letters, or pass --all"
        return ""
    extra = [*args.ids, *(["--all"] if args.all else [])]
    if extra:
        return (
            f"queue {action} takes no {' '.join(map(shown, extra))}: only replay"
            " and purge do"
        )
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
        moved = await move_queue(old, new)
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


async def act(
    queue: JobOperator,
    action: str,
    ids: list[str] | None,
    *,
    providers: Sequence[str],
) -> int:
    """Show or change an open queue; `ids` of dead letters, `None` for all of them."""
    if action == "status":
        return await _print_status(queue, providers)
    if action == "dead":
        return await _print_dead(queue)
    # `None` would mean all of them.
    if ids == []:
        print(f"name the dead letters to {action}, or pass --all")
        return 2
    change = queue.replay_dead if action == "replay" else queue.purge_dead
    done = 0
    unknown: list[str] = []
    if ids is None:
        # From the first page each time: what was changed is gone from it.
        while letters := await queue.list_dead(limit=PAGE):
            done += await change([letter.id for letter in letters])
    else:
        # One by one: the queue tells how many it knew, not which.
        for wanted in dict.fromkeys(ids):
            known = await change([wanted])
            done += known
            unknown += [] if known else [wanted]
    print(f"{action}: {done} dead letters")
    if unknown:
        print(f"no such dead letters: {', '.join(unknown)}", file=sys.stderr)
    return 1 if unknown else 0


async def _print_status(queue: JobOperator, providers: Sequence[str]) -> int:
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


async def _print_dead(queue: JobOperator) -> int:
    after = ""
    count = 0
    while letters := await queue.list_dead(limit=PAGE, after=after):
        for letter in letters:
            print(_describe(letter))
        count += len(letters)
        after = letters[-1].id
    print(f"{count} dead letters")
    return 0


def _describe(letter: DeadLetter) -> str:
    from datetime import UTC, datetime

    from tocsin.core.push import SendJob

    job = letter.job
    at = datetime.fromtimestamp(letter.at_ms / 1000, UTC).isoformat(timespec="seconds")
    size = "a filter"
    if isinstance(job, SendJob):
        size = f"{len(job.work.recipients)} recipients"
    parts = [
        letter.id,
        at,
        f"uid {_in_line(letter.uid) if letter.uid else 'unknown'}",
        f"push {job.push_id}",
        job.queue,
        f"provider {job.provider}",
        *([f"integration {job.integration}"] if job.integration else []),
        f"attempt {job.attempt}",
        size,
        letter.reason,
    ]
    return "  ".join(parts)


def _in_line(text: str) -> str:
    """What a caller chose, without what would move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)
