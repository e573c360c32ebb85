"""Finds the verb and runs it; decides nothing else.

A verb's machinery is imported only when it is used: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from tocsin import __version__

DONE, FAILED, WRONG_USAGE = 0, 1, 2

VERBS: dict[str, str] = {
    "serve": "run the API server (and, on SQLite, a worker inside)",
    "worker": "run a worker that sends what is queued",
    "demo": "show the main job in one process against a local provider",
    "simulate": "run local provider servers to send to",
    "migrate": "bring the database and queue schemas up to date",
    "check-config": "say what a configuration means, or all that is wrong with it",
    "gen-token": "make a connection token for a user",
    "gen-sub-token": "make a subscription token for a user and a channel",
    "check-token": "say what a token grants, or why it is refused",
    "funnel": "show what became of a send: sent, delivered, interacted, failed",
    "devices": "count devices that were removed, and bring them back",
    "queue": "look at the queue and its dead letters, replay, purge or move them",
}


class Verb(Protocol):
    """What every file of this room offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""
        ...


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; each verb adds its own arguments."""
    parser = argparse.ArgumentParser(
        prog="tocsin",
        description="Notification service: gRPC in, pushes out.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        # Not capitalize(), which makes all the rest of the sentence small.
        text = summary[0].upper() + summary[1:] + "."
        child = verbs.add_parser(verb, help=summary, description=text)
        _module(verb).add_arguments(child)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    parser = build_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(
            f"unrecognized arguments: {' '.join(map(_show_argument, unknown))}"
        )
    try:
        code: int = _module(args.verb).run(args)
    except (KeyboardInterrupt, BrokenPipeError):
        return FAILED
    except Exception as error:  # noqa: BLE001 - the border of a process
        print(_describe_fault(error), file=sys.stderr)
        return FAILED
    return code


def _show_argument(text: str) -> str:
    """An option's name; of a value, which may be a secret, no more than its start."""
    name, equals, value = text.partition("=")
    if not name.startswith("-"):
        name, equals, value = "", "", text
    shown = f"{value[:4]}…" if len(value) > 4 else value
    return f"{name}{equals}{shown}"


def _describe_fault(error: Exception) -> str:
    """A traceback whose words are scrubbed: they may quote what was configured."""
    import traceback

    from tocsin.config.showing import scrub_text
    from tocsin.telemetry.logs import scrub

    return scrub_text(scrub("".join(traceback.format_exception(error)))).rstrip()


def _module(verb: str) -> Verb:
    return cast("Verb", import_module("tocsin.cli." + verb.replace("-", "_")))


if __name__ == "__main__":
    sys.exit(main())
