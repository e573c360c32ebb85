"""`tocsin admin`: what operators did.

It reads the audit log as the configuration names it, so no server has to run.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from tocsin.cli.arguments import one_of
from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end
from tocsin.cli.times import read_time, show_time

if TYPE_CHECKING:  # the services cost more than all of `--help` may
    from tocsin.admin.audit import AuditTrail
    from tocsin.config import Config
    from tocsin.core.ports.audit import AuditEntry, AuditFilter

PAGE = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "action",
        type=one_of(("log",)),
        metavar="{log}",
        help="log: administrative calls and commands, the newest first",
    )
    for name, text in (
        ("actor", "of this key, or of this user of a command line"),
        ("method", "of this method, such as replay_dead_letters"),
    ):
        parser.add_argument(
            f"--{name}",
            dest=f"{name}s",
            action="append",
            default=[],
            metavar=name.upper(),
            help=f"only calls {text}; may be given several times",
        )
    for name, text in (("since", "then or later"), ("until", "before")):
        parser.add_argument(
            f"--{name}",
            metavar="TIME",
            help=f"only calls {text}: 2026-11-28T06:00:00Z, or 90m for 90 minutes ago",
        )
    parser.add_argument(
        "--limit",
        type=int,
        default=PAGE,
        metavar="NUMBER",
        help=f"at most so many lines, {PAGE} where it is not given; 0 for all",
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print them; exit code 2 for a time that cannot be read, or without a database."""
    from tocsin.core.ports.audit import AuditFilter

    now_s = time.time()
    try:
        if args.limit < 0:
            raise ValueError("--limit: must not be negative")  # noqa: TRY301
        chosen = AuditFilter(
            actors=tuple(args.actors),
            methods=tuple(args.methods),
            since_ms=read_time("--since", args.since, now_s),
            until_ms=read_time("--until", args.until, now_s),
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2

    async def work(config: Config) -> int:
        from contextlib import AsyncExitStack

        from tocsin.app.admin import open_audit

        if config.database.kind is None:
            print(
                "no database is configured: administrative calls are in the log alone"
            )
            return 2
        async with AsyncExitStack() as stack:
            return await act(await open_audit(config, stack), chosen, limit=args.limit)

    return run_to_its_end(args, work)


async def act(audit: AuditTrail, chosen: AuditFilter, *, limit: int) -> int:
    """Print entries; `limit` 0 is all of them."""
    cursor, count = "", 0
    while True:
        wanted = min(PAGE, limit - count) if limit else PAGE
        page = await audit.page(chosen, cursor=cursor, limit=wanted)
        for entry in page.items:
            print(_describe(entry))
        count += len(page.items)
        cursor = page.next_cursor
        if not cursor or count == limit:
            break
    print(f"{count} calls{', and older ones' if cursor else ''}")
    return 0


def _describe(entry: AuditEntry) -> str:
    address = f" ({entry.address})" if entry.address else ""
    parts = [
        show_time(entry.at_ms),
        f"{_in_line(entry.actor)}{address} by {entry.door}",
        entry.method,
        _in_line(entry.subject),
        f"count {entry.count}",
        _in_line(entry.result) or "did not end",
    ]
    return "  ".join(parts)


def _in_line(text: str) -> str:
    """What a caller chose, without what would move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)
