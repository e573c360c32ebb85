"""`tocsin send`: the life of one accepted send, and which ones there are.

It asks the service of `AdminApi` itself, so no server has to run; what it prints is put
into words in `send_words.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tocsin.cli.arguments import one_of
from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.process import run_to_its_end
from tocsin.cli.times import read_time

if TYPE_CHECKING:  # the services cost more than all of `--help` may
    from tocsin.admin.sends import SendLife, SendsService
    from tocsin.config import Config
    from tocsin.core.ports.analytics import DeviceSource
    from tocsin.core.ports.send_log import SendQuery

PAGE = 100
ACTIONS = ("show", "list")
_LIST_OPTIONS = ("states", "since", "until", "limit")


@dataclass(frozen=True, slots=True)
class ListOrder:
    """Which sends a line asks for; `limit` 0 is all of them."""

    query: SendQuery
    states: tuple[str, ...]
    limit: int
    as_json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "action",
        type=one_of(ACTIONS),
        metavar="{show,list}",
        help="show: the life of one send; list: sends, the newest first",
    )
    parser.add_argument(
        "name", nargs="?", metavar="UID", help="show: a uid, or a push id"
    )
    parser.add_argument(
        "--device",
        metavar="ID",
        help="show: what is known of the push to this device, too",
    )
    parser.add_argument(
        "--state",
        dest="states",
        action="append",
        default=[],
        metavar="STATE",
        help="list: only sends in this state, such as sending or halted; may be given"
        " several times",
    )
    for name, text in (("since", "then or later"), ("until", "before")):
        parser.add_argument(
            f"--{name}",
            metavar="TIME",
            help=f"list: only sends accepted {text}: 2026-11-28T06:00:00Z, or 90m for"
            " 90 minutes ago",
        )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="NUMBER",
        help=f"list: at most so many, {PAGE} where it is not given; 0 for all",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line each")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 1 where nothing is known of a send, 2 for a wrong line."""
    try:
        order = read_order(args)
    except ValueError as error:
        print(f"tocsin send {args.action}: {error}", file=sys.stderr)
        return 2

    async def life(config: Config) -> int:
        from contextlib import AsyncExitStack

        from tocsin.app.admin import build_admin
        from tocsin.app.analytics import open_store
        from tocsin.app.resources import open_resources
        from tocsin.core.errors import ApiError

        async with AsyncExitStack() as stack:
            resources = await open_resources(config, stack, as_it_is=True)
            sends = build_admin(resources).sends
            try:
                if order is not None:
                    return await print_list(sends, order)
                store = None
                if args.device:
                    store = await open_store(config, resources.database, stack)
                return await print_life(
                    sends, args.name, args.device, store, as_json=args.json
                )
            except ApiError as error:
                print(f"tocsin send {args.action}: {error.message}", file=sys.stderr)
                return 1

    return run_to_its_end(args, life)


def read_order(args: argparse.Namespace) -> ListOrder | None:
    """What a line asks for, `None` for one send; `ValueError` says what is wrong."""
    if args.action == "show":
        given = [name for name in _LIST_OPTIONS if getattr(args, name)]
        if given:
            word = "--state" if given[0] == "states" else f"--{given[0]}"
            raise ValueError(f"takes no {word}: only list does")
        if not args.name:
            raise ValueError("name a send by its uid or its push id")
        return None
    from tocsin.core.ports.send_log import SendQuery

    if args.device:
        raise ValueError("takes no --device: only show does")
    limit = PAGE if args.limit is None else args.limit
    if limit < 0:
        raise ValueError("--limit: must not be negative")
    now_s = time.time()
    query = SendQuery(
        uid=args.name or "",
        since_ms=read_time("--since", args.since, now_s),
        until_ms=read_time("--until", args.until, now_s),
    )
    return ListOrder(query, tuple(args.states), limit, args.json)


async def print_list(sends: SendsService, order: ListOrder) -> int:
    """Sends that fit, page by page."""
    from tocsin.cli.send_words import line_of, view_data

    cursor, count = "", 0
    while True:
        wanted = min(PAGE, order.limit - count) if order.limit else PAGE
        page = await sends.page(
            order.query, states=order.states, cursor=cursor, limit=wanted
        )
        for view in page.items:
            print(json.dumps(view_data(view)) if order.as_json else line_of(view))
        count += len(page.items)
        cursor = page.next_cursor
        if not cursor or (order.limit and count >= order.limit):
            break
    if not order.as_json:
        print(f"{count} sends{', and older ones' if cursor else ''}")
    return 0


async def print_life(
    sends: SendsService,
    name: str,
    device: str | None = None,
    source: DeviceSource | None = None,
    *,
    as_json: bool = False,
) -> int:
    """One send, and what is known of one device of it."""
    from tocsin.cli.send_words import device_lines, life_data, life_lines

    life = await _find(sends, name)
    record = life.view.record
    rows = None
    if device and source is not None:
        rows = await source.fetch_device(record.analytics_uid or record.uid, device)
    if as_json:
        data = life_data(life)
        if rows is not None:
            data["device"] = [row._asdict() for row in rows]
        print(json.dumps(data))
        return 0
    for line in life_lines(life):
        print(line)
    if device:
        for line in device_lines(device, rows):
            print(line)
    return 0


async def _find(sends: SendsService, name: str) -> SendLife:
    from tocsin.core.errors import NotFound

    try:
        return await sends.get(uid=name)
    except NotFound as missing:
        try:
            return await sends.get(push_id=name)
        except NotFound:
            raise missing from None
