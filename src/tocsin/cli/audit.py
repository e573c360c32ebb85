"""`tocsin audit`: whether every accepted send is accounted for.

It checks all accounts of the send log and compares open sends with the queue, a page at
a time; it changes nothing, and no server has to run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end
from tocsin.cli.times import read_time

if TYPE_CHECKING:  # the services cost more than all of `--help` may
    from tocsin.admin.send_audit import Finding, SendAudit
    from tocsin.config import Config
    from tocsin.core.ports.send_log import SendQuery

PAGE = 5_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only sends accepted then or later: 2026-11-28T06:00:00Z, or 24h",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, a line for each finding"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 1 where something is wrong with a send, 2 without a log."""
    from tocsin.core.ports.send_log import SendQuery

    try:
        since_ms = read_time("--since", args.since, time.time())
    except ValueError as error:
        print(f"tocsin audit: {error}", file=sys.stderr)
        return 2

    async def life(config: Config) -> int:
        from contextlib import AsyncExitStack

        from tocsin.app.admin import build_admin
        from tocsin.app.resources import open_resources
        from tocsin.core.errors import ApiError, NotAvailable

        async with AsyncExitStack() as stack:
            resources = await open_resources(config, stack, as_it_is=True)
            if resources.queue is None:
                print("no queue is configured: push_notifications is off")
                return 2
            audit = build_admin(resources).send_audit
            query = SendQuery(since_ms=since_ms)
            try:
                return await act(audit, query, as_json=args.json)
            except NotAvailable as error:
                print(f"tocsin audit: {error.message}", file=sys.stderr)
                return 2
            except ApiError as error:
                print(f"tocsin audit: {error.message}", file=sys.stderr)
                return 1

    return run_to_its_end(args, life)


async def act(audit: SendAudit, query: SendQuery, *, as_json: bool = False) -> int:
    """Check everything that fits, and say what is wrong; returns the exit code."""
    from tocsin.admin.send_audit import FindingKind

    kinds: Counter[FindingKind] = Counter()
    cursor, checked, open = "", 0, 0
    while True:
        report = await audit.look(query, cursor=cursor, limit=PAGE)
        for finding in report.findings:
            kinds[finding.kind] += 1
            print(_json_of(finding) if as_json else _describe(finding))
        checked, open = checked + report.checked, open + report.open
        cursor = report.next_cursor
        if not cursor:
            break
    counts = {kind.value: kinds[kind] for kind in FindingKind}
    if as_json:
        print(json.dumps({"checked": checked, "open": open, **counts}))
    else:
        others = [f"{kinds[kind]} {kind.value}" for kind in FindingKind if kinds[kind]]
        others = [
            each for each in others if not each.endswith(FindingKind.BROKEN.value)
        ]
        more = f"; {', '.join(others)}" if others else ""
        broken = kinds[FindingKind.BROKEN]
        print(f"{checked} sends checked, {broken} break their account{more}")
    return 1 if kinds else 0


def _describe(finding: Finding) -> str:
    parts = [
        finding.kind.value.upper(),
        f"uid {_in_line(finding.uid)}",
        f"push {finding.push_id}",
        finding.what,
        f"do: {finding.todo}",
    ]
    return "  ".join(parts)


def _json_of(finding: Finding) -> str:
    return json.dumps(
        {
            "uid": finding.uid,
            "push_id": finding.push_id,
            "kind": finding.kind.value,
            "what": finding.what,
            "todo": finding.todo,
        }
    )


def _in_line(text: str) -> str:
    """What a caller chose, without what would move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)
