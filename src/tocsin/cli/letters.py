"""What `tocsin queue` does with dead letters, through the service of `AdminApi`.

It reads options and prints; what is meant and what follows is decided there.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.times import read_time, show_time

if TYPE_CHECKING:  # the services cost more than all of `--help` may
    from tocsin.admin.actor import Actor
    from tocsin.admin.dead_letters import DeadLetterService, LettersChanged, LetterView
    from tocsin.admin.letter_choice import LetterChoice
    from tocsin.core.dead_letters import LetterHead, Mend

PAGE = 100
SHOWN_RECIPIENTS = 20
LETTER_ACTIONS = ("dead", "reasons", "show", "replay", "purge")
CHANGES = ("replay", "purge")
_FILTERS = {
    "reason": ("reasons", "letters of this reason, as `queue reasons` prints it"),
    "provider": ("providers", "letters of this provider"),
    "integration": ("integrations", "letters of this integration"),
    "push-id": ("push_ids", "letters of this push id"),
    "uid": ("uids", "letters of the send with this uid"),
}


@dataclass(frozen=True, slots=True)
class LetterOrder:
    """What a line asks for. `mend` is the body that replayed letters get."""

    action: str
    choice: LetterChoice
    with_body: bool = False
    mend: Mend | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that choose letters."""
    for name, (field, text) in _FILTERS.items():
        parser.add_argument(
            f"--{name}",
            dest=field,
            action="append",
            default=[],
            metavar=name.upper().replace("-", "_"),
            help=f"only {text}; may be given several times",
        )
    for name, text in (("since", "dead then or later"), ("until", "dead before")):
        parser.add_argument(
            f"--{name}",
            metavar="TIME",
            help=f"only letters {text}: 2026-11-28T06:00:00Z, or 90m for 90 minutes"
            " ago",
        )
    parser.add_argument(
        "--all", action="store_true", help="replay or purge every dead letter"
    )
    parser.add_argument(
        "--body", action="store_true", help="show: print what was sent, too"
    )
    parser.add_argument(
        "--with-body",
        metavar="FILE",
        help="replay: with the provider's own JSON in this file instead of the body"
        " that was refused; the headers stay, unless --header is given",
    )
    parser.add_argument(
        "--header",
        dest="headers",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replay --with-body: a header of the new body; may be given several times",
    )


def find_misuse(args: argparse.Namespace) -> str:
    """What is wrong with a line, or nothing."""
    action = args.action
    has_filter = _has_filter(args)
    if args.body and action != "show":
        return f"queue {action} takes no --body: only show does"
    if (args.with_body or args.headers) and action != "replay":
        return f"queue {action} takes no --with-body: only replay does"
    if args.headers and not args.with_body:
        return "queue replay: --header goes with --with-body"
    if action == "show":
        if len(args.ids) != 1 or has_filter or args.all:
            return "queue show: name one dead letter"
        return ""
    if action in CHANGES:
        chosen = bool(args.ids) + has_filter + args.all
        if args.ids and args.all:
            return f"queue {action} takes either dead letters or --all, not both"
        if chosen > 1 and not (args.with_body and _is_provider_alone(args)):
            return (
                f"queue {action} takes dead letters, options that choose them, or"
                " --all: one of these"
            )
        if not chosen:
            return f"queue {action}: name the dead letters, or pass --all"
        return ""
    extra = [*args.ids, *(["--all"] if args.all else [])]
    if action not in LETTER_ACTIONS and has_filter:
        return f"queue {action} takes no options that choose dead letters"
    if extra:
        from tocsin.cli.arguments import shown

        return (
            f"queue {action} takes no {' '.join(map(shown, extra))}: only replay"
            " and purge do"
        )
    return ""


def _has_filter(args: argparse.Namespace) -> bool:
    lists = any(getattr(args, field) for field, _ in _FILTERS.values())
    return lists or args.since is not None or args.until is not None


def _is_provider_alone(args: argparse.Namespace) -> bool:
    """Whether the only choice is a provider, which a body needs beside ids or --all."""
    others = [field for field, _ in _FILTERS.values() if field != "providers"]
    return (
        len(args.providers) == 1
        and not any(getattr(args, field) for field in others)
        and args.since is args.until is None
    )


def read_order(args: argparse.Namespace, enabled: tuple[str, ...]) -> LetterOrder:
    """What a line without misuse asks for; `ValueError` says what cannot be read."""
    from tocsin.admin.letter_choice import EVERY_LETTER, LetterChoice
    from tocsin.core.dead_letters import LetterFilter

    now_s = time.time()
    chosen = LetterFilter(
        **{field: tuple(getattr(args, field)) for field, _ in _FILTERS.values()},
        since_ms=read_time("--since", args.since, now_s),
        until_ms=read_time("--until", args.until, now_s),
    )
    mend = _read_mend(args, enabled) if args.with_body else None
    if args.ids or args.all:
        chosen = EVERY_LETTER
    choice = LetterChoice(ids=tuple(args.ids), filter=chosen, all=args.all)
    return LetterOrder(args.action, choice, args.body, mend)


def _read_mend(args: argparse.Namespace, enabled: tuple[str, ...]) -> Mend:
    from tocsin.core.dead_letters import Mend
    from tocsin.core.push import Body

    named = tuple(args.providers) or enabled
    if len(named) != 1:
        raise ValueError(
            "name the one provider that the body is for: --provider"
            f" {' or '.join(enabled)}"
        )
    headers = {}
    for text in args.headers:
        name, sign, value = text.partition("=")
        if not (sign and name):
            raise ValueError("--header: must be NAME=VALUE")
        headers[name.strip()] = value.strip()
    try:
        message = Path(args.with_body).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"--with-body: {args.with_body}: {error.strerror}") from None
    return Mend(named[0], Body(message, headers))


async def act(letters: DeadLetterService, order: LetterOrder, *, actor: Actor) -> int:
    """Show or change letters; returns the exit code, 1 where an id was unknown."""
    from tocsin.core.errors import ApiError

    try:
        if order.action == "dead":
            return await _print_all(letters, order)
        if order.action == "reasons":
            return await _print_groups(letters, order)
        if order.action == "show":
            view = await letters.look(
                order.choice.ids[0], actor=actor, with_body=order.with_body
            )
            _print_view(view)
            return 0
        if order.action == "replay":
            done = await letters.replay(
                order.choice, actor=actor, mend=order.mend, whole=True
            )
        else:
            done = await letters.purge(order.choice, actor=actor, whole=True)
    except ApiError as error:
        print(f"queue {order.action}: {error.message}", file=sys.stderr)
        return 1
    return _tell_change(order.action, done)


def _tell_change(action: str, done: LettersChanged) -> int:
    print(f"{action}: {done.changed} dead letters")
    if left := done.matched - done.changed:
        print(
            f"{left} others were gone by then, or cannot be read and take no body",
            file=sys.stderr,
        )
    if done.unknown_ids:
        print(f"no such dead letters: {', '.join(done.unknown_ids)}", file=sys.stderr)
    return 1 if done.unknown_ids else 0


async def _print_all(letters: DeadLetterService, order: LetterOrder) -> int:
    cursor, count = "", 0
    while True:
        page = await letters.page(order.choice.filter, cursor=cursor, limit=PAGE)
        for head in page.items:
            print(_describe(head))
        count += len(page.items)
        cursor = page.next_cursor
        if not cursor:
            break
    print(f"{count} dead letters")
    return 0


async def _print_groups(letters: DeadLetterService, order: LetterOrder) -> int:
    count = 0
    for group in await letters.groups(order.choice.filter):
        count += group.letters
        print(
            f"{group.letters:>8} letters  {group.recipients:>9} recipients  since"
            f" {show_time(group.first_ms)}  last {show_time(group.last_ms)}  provider"
            f" {group.provider}  integration {group.integration}  {group.reason}"
            f"  (such as {group.example_id})"
        )
    print(f"{count} dead letters")
    return 0


def _describe(head: LetterHead) -> str:
    size = "a filter" if head.stage == "expand" else f"{head.recipients} recipients"
    parts = [
        head.id,
        show_time(head.at_ms),
        f"uid {_in_line(head.uid) if head.uid else 'unknown'}",
        f"push {head.push_id}",
        f"{head.stage}:{head.provider}",
        f"provider {head.provider}",
        *([f"integration {head.integration}"] if head.integration else []),
        f"attempt {head.attempt}",
        size,
        head.reason,
    ]
    return "  ".join(parts)


def _print_view(view: LetterView) -> None:
    from tocsin.core.masking import mask_target
    from tocsin.core.push import SendJob

    job = view.letter.job
    print(_describe(view.head))
    print(f"job        {job.id}  request {job.correlation_id}")
    print(f"accepted   {show_time(job.accepted_at_ms)}")
    print(f"expires    {show_time(job.expire_at_ms)}")
    print(f"first try  {show_time(job.first_try_at_ms)}")
    if isinstance(job, SendJob):
        recipients = job.work.recipients
        for index in range(min(len(recipients), SHOWN_RECIPIENTS)):
            one = recipients[index]
            device = f"device {one.device_id}  " if one.device_id else ""
            print(f"to         {device}{mask_target(one.target)}")
        if (more := len(recipients) - SHOWN_RECIPIENTS) > 0:
            print(f"to         {more} others")
    else:
        print(f"walk       page {job.work.page}, after device {job.work.cursor or '-'}")
    if view.body is not None:
        for name, value in view.body.headers.items():
            print(f"header     {_in_line(name)}: {_in_line(value)}")
        print(view.body.message.decode(errors="replace"))


def _in_line(text: str) -> str:
    """What a caller chose, without what would move the cursor of a terminal."""
    return text if text.isprintable() else ascii(text)
