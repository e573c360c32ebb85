"""What `serve` and `worker` share: configuration, logs, and ends that explain.

It must stay cheap to import; machinery is loaded when a process starts.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

from tocsin.cli.configuration import load, read_config

if TYPE_CHECKING:  # pydantic and asyncio cost more than all of `--help` may
    from tocsin.app.lifecycle import Stopper
    from tocsin.config import Config

DONE, FAILED, WRONG_USAGE = 0, 1, 2

_UNWRITABLE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO})


def is_of_output(error: OSError) -> bool:
    """Whether the fault is in writing the output, not in a file that a verb opened."""
    if isinstance(error, BrokenPipeError):
        return True
    return error.errno in _UNWRITABLE and error.filename is None


def run_process(
    args: argparse.Namespace,
    life: Callable[[Config, Stopper], Awaitable[int]],
    *,
    fault: Callable[[Config], str] | None = None,
    hint_without: str = "",
    is_brief: bool = False,
) -> int:
    """Load the configuration, set up logs, and live until stopped.

    `fault` says what the configuration lacks for this verb, or nothing.
    `hint_without` is the warning where nothing is configured. With `is_brief` the
    configuration's warnings are left to servers, workers and `check-config`: the
    verb's own answer would drown in them.
    """
    loaded = read_config(args)
    if loaded is None:
        return WRONG_USAGE
    import structlog

    from tocsin.app.lifecycle import run
    from tocsin.telemetry.logs import configure_logging, hide

    levels = loaded.config.log
    configure_logging(levels.level, rooms=levels.by_room())
    # Before the first line of the log.
    hide(loaded.config.secrets())
    log = structlog.get_logger(__name__)
    for warning in () if is_brief else loaded.warnings:
        log.warning(warning)
    if loaded.is_default and hint_without:
        log.warning(hint_without, database=loaded.config.database.sqlite.path)
    if fault is not None and (missing := fault(loaded.config)):
        log.error(missing)
        return WRONG_USAGE
    return _run_explained(lambda: run(lambda stopper: life(loaded.config, stopper)))


def run_to_its_end(
    args: argparse.Namespace,
    work: Callable[[Config], Coroutine[object, object, int]],
) -> int:
    """As `run_process`, for a verb that ends by itself; 1 where it was stopped."""

    async def life(config: Config, stopper: Stopper) -> int:
        from tocsin.app.lifecycle import unless_stopped

        code = await unless_stopped(work(config), stopper)
        if code is None:
            print(f"tocsin {args.verb}: stopped before its end", file=sys.stderr)
            return FAILED
        return code

    return run_process(args, life, is_brief=True)


def reread(args: argparse.Namespace) -> Config | None:
    """The configuration as it is now; a fault is a line of the running log."""
    import structlog

    from tocsin.config import ConfigError
    from tocsin.telemetry.logs import hide

    try:
        config = load(args).config
    except ConfigError as error:
        log = structlog.get_logger(__name__)
        for fault in error.faults:
            told = f"configuration: {fault}"
            log.error(told)  # noqa: TRY400 - a person can mend it
        return None
    hide(config.secrets())
    return config


def _run_explained(start: Callable[[], int]) -> int:
    """Start, and turn what a person can mend into one line without a traceback."""
    import structlog

    from tocsin.app.faults import explain

    log = structlog.get_logger(__name__)
    try:
        return start()
    except BrokenPipeError:
        raise  # nobody reads what is printed: no fault of the process
    except Exception as error:
        explained = explain(error)
        if explained is None:
            log.exception("stopped by a fault that should not happen")
            return FAILED
        log.error(explained.message)  # noqa: TRY400 - a person can mend it
        return WRONG_USAGE if explained.is_configuration else FAILED
