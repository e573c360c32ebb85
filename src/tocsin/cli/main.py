"""Finds the verb and runs it; decides nothing else.

A verb's machinery is imported only when it is used: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from tocsin.app.signals import INBOX
from tocsin.cli.arguments import CommandParser, VerbParser
from tocsin.cli.process import is_of_output
from tocsin.core.version import VERSION

DONE, FAILED, WRONG_USAGE = 0, 1, 2

VERBS: dict[str, str] = {
    "serve": "run the API server (and, on SQLite, a worker inside)",
    "worker": "run a worker that sends what is queued",
    "demo": "show the main job in one process against a local provider",
    "simulate": "run local provider servers to send to",
    "migrate": "bring the database and queue schemas up to date",
    "check-config": "say what a configuration means, or all that is wrong with it",
    "gen-key": "make a key of the server API, and the entry that lets it in",
    "gen-token": "make a connection token for a user",
    "gen-sub-token": "make a subscription token for a user and a channel",
    "check-token": "say what a token grants, or why it is refused",
    "send": "show the life of an accepted send, or list sends",
    "audit": "check that every accepted send is accounted for",
    "funnel": "show what became of a send: sent, delivered, interacted, failed",
    "devices": "count devices that were removed, and bring them back",
    "credentials": "show which credentials are refused or slowed down, and why",
    "queue": "look at the queue and its dead letters, replay, purge or move them",
    "admin": "show what operators did",
}


class Verb(Protocol):
    """What every file of this room offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""
        ...


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all verbs; each verb adds its own arguments.

    With `only`, the first word of a line, no other verb does: then their modules, and
    what those read, are not loaded.
    """
    parser = CommandParser(
        prog="tocsin",
        description="Notification service: gRPC in, pushes out.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    verbs = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, parser_class=VerbParser
    )
    for verb, summary in VERBS.items():
        # Not capitalize(), which puts the rest of the sentence into lower case.
        text = summary[0].upper() + summary[1:] + "."
        child = verbs.add_parser(verb, help=summary, description=text)
        if only is None or only == verb:
            _module(verb).add_arguments(child)
    return parser


LIVING = frozenset(
    {
        *("serve", "worker", "demo", "simulate", "migrate"),
        *("queue", "devices", "funnel", "credentials", "admin", "send", "audit"),
    }
)
"""Verbs that end in order when a signal asks; the others have nothing to give back."""
LOGGING = frozenset({"serve", "worker"})
"""Verbs whose output is a log: they do their work also where nobody can read it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code.

    Without `argv` it is the whole process, and handles its signals from now on.
    """
    if argv is not None:
        return _run(argv)
    # gRPC's core writes a line of its own for each broken TLS handshake, which anybody
    # can cause. It reads this variable when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _open_missing_output()
    # Before the verb's imports, which take a while: a signal waits for the verb.
    INBOX.install()
    atexit.register(INBOX.ignore)
    try:
        return _run(None)
    except KeyboardInterrupt:
        return FAILED
    finally:
        _let_go_of_output()


def _run(argv: Sequence[str] | None) -> int:
    line = sys.argv[1:] if argv is None else argv
    args = build_parser(next(iter(line), "")).parse_args(line)
    if argv is None and args.verb not in LIVING and INBOX.leave_to_python():
        return FAILED
    try:
        code: int = _module(args.verb).run(args)
        if args.verb not in LOGGING:
            # Here and not at Python's end, so that an error still sets the
            # exit code.
            sys.stdout.flush()
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        if not is_of_output(error):
            print(_describe_fault(error), file=sys.stderr)
            return FAILED
        reason = error.strerror or type(error).__name__
        print(f"tocsin {args.verb}: cannot write its output: {reason}", file=sys.stderr)
        return FAILED
    except Exception as error:  # noqa: BLE001 - the border of a process
        print(_describe_fault(error), file=sys.stderr)
        return FAILED
    return code


def _describe_fault(error: Exception) -> str:
    """A traceback whose words are scrubbed: they may quote what was configured."""
    import traceback

    from tocsin.config.showing import scrub_text
    from tocsin.telemetry.logs import scrub

    return scrub_text(scrub("".join(traceback.format_exception(error)))).rstrip()


def _open_missing_output() -> None:
    """A process may be started without standard output or error."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end


def _let_go_of_output() -> None:
    """Flush the output; where nobody reads it any more, let it go in silence."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Python flushes once more at its end, and would print an error
            # then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _module(verb: str) -> Verb:
    return cast("Verb", import_module("tocsin.cli." + verb.replace("-", "_")))


if __name__ == "__main__":
    sys.exit(main())
