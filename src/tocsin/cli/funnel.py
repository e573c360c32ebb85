"""`tocsin funnel`: what became of one send. It reads analytics and prints.

It goes to the store itself, as the configuration names it, so no server has to run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config
    from tocsin.core.analytics import Funnel, SendState


_NOTHING = (
    "nothing is known of {uid!r}: no send had it as its analytics_uid, or as its uid"
    " without one, or it has no result yet, or its results are older than"
    " analytics.retention and gone"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("uid", help="analytics_uid of the send, or its uid without one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 1 when nothing is known of that uid, 2 without analytics."""

    async def life(config: Config) -> int:
        from contextlib import AsyncExitStack

        from tocsin.app.analytics import open_store
        from tocsin.app.resources import open_database
        from tocsin.core.analytics import find_state

        async with AsyncExitStack() as stack:
            database = await open_database(config, stack, as_it_is=True)
            store = await open_store(config, database, stack)
            if store is None:
                print(
                    "analytics is off: configure a database, or"
                    " clickhouse_analytics.export.notifications"
                )
                return 2
            funnel = await store.fetch_funnel(args.uid)
        state = find_state(funnel, time.time_ns() // 1_000_000)
        _print(funnel, state, as_json=args.json)
        if funnel.has_results or state is not None:
            return 0
        print(_NOTHING.format(uid=args.uid), file=sys.stderr)
        return 1

    return run_to_its_end(args, life)


def _print(funnel: Funnel, state: SendState | None, *, as_json: bool) -> None:
    failed = dict(sorted(funnel.failed.items()))
    if as_json:
        steps: dict[str, object] = {
            "uid": funnel.uid,
            "sent": funnel.sent,
            "delivered": funnel.delivered,
            "interacted": funnel.interacted,
            "failed": failed,
        }
        if state is not None:
            steps |= {"state": state.state, "note": state.note}
            if state.due_ms:
                steps["due_at"] = state.due_ms // 1000
        print(json.dumps(steps))
        return
    if state is not None:
        print(state.note)
    print(f"{'sent':<12}{funnel.sent:>10}  recipients that the provider accepted")
    print(f"{'delivered':<12}{funnel.delivered:>10}  devices that reported it")
    print(f"{'interacted':<12}{funnel.interacted:>10}  devices that reported it")
    print(f"{'failed':<12}{sum(failed.values()):>10}  recipients never accepted")
    for code, count in failed.items():
        print(f"  {code:<10}{count:>10}")
