"""`tocsin check-config`: what a configuration means, or all that is wrong with it.

It must not connect to anything: the configuration may be meant for elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tocsin.cli.config_meaning import describe_config
from tocsin.cli.configuration import add_config_arguments, read_config
from tocsin.cli.process import is_of_output

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config


HMAC_MIN_BYTES = 32
"""RFC 7518, section 3.2: as long as the hash of HS256."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which every verb gets its configuration."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print `ok` and what follows from the keys, or every fault; 0 or 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A value may hold what the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _check(args)
    except Exception as error:
        if isinstance(error, OSError) and is_of_output(error):
            raise
        print(_describe_own_fault(error), file=sys.stderr)
        return 2


def _check(args: argparse.Namespace) -> int:
    loaded = read_config(args)
    if loaded is None:
        return 2
    config = loaded.config
    unusable, doubtful = _judge_providers(config)
    faults = [
        *_find_bad_pem(config),
        *unusable,
        *_find_bad_realtime(config),
        *_find_bad_redis(config),
    ]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    print("ok")
    from tocsin.config.showing import show_path

    _print("source", show_path(loaded.source) if loaded.source else "no file")
    for name, text in describe_config(config):
        _print(name, text)
    for warning in (*loaded.warnings, *doubtful, *_find_short_secrets(config)):
        _print("warning", warning)
    return 0


def _describe_own_fault(error: Exception) -> str:
    """Where it happened, without the error's words: they may quote a secret."""
    *_, last = traceback.extract_tb(error.__traceback__)
    place = f"{Path(last.filename).name}:{last.lineno}"
    return (
        f"cannot be checked: {type(error).__name__} at {place}, a fault of Tocsin"
        " itself: please report it with the keys that you set, not their values"
    )


def _print(name: str, text: str) -> None:
    print(f"{name + ':':<11} {text}")


def _judge_providers(config: Config) -> tuple[list[str], list[str]]:
    """Faults of credentials where `serve` loads them, else warnings."""
    from tocsin.app.provider_faults import find_provider_faults

    doubts = _collect_log()
    found = asyncio.run(find_provider_faults(config))
    faults, warnings = _sort_by_reader(config, found)
    return faults, [*warnings, *doubts]


def _collect_log() -> list[str]:
    """A list that gets what adapters log from now on: it is part of the answer."""
    import structlog

    said: list[str] = []

    def take(_: object, __: str, event: structlog.typing.EventDict) -> NoReturn:
        said.append(str(event["event"]))
        raise structlog.DropEvent

    structlog.configure(processors=[take])
    return said


def _sort_by_reader(config: Config, found: list[str]) -> tuple[list[str], list[str]]:
    if config.push_notifications.dry_run:
        return [], [f"{fault}; not needed in a dry run" for fault in found]
    if config.worker_embedded:
        return found, []
    return [], [f"{fault}; `tocsin worker` will refuse it" for fault in found]


def _find_short_secrets(config: Config) -> Iterator[str]:
    client = config.client
    for section, token in (
        ("token", client.token),
        ("subscription_token", client.subscription_token),
    ):
        size = len(token.hmac_secret_key.get_secret_value().encode())
        if 0 < size < HMAC_MIN_BYTES:
            yield (
                f"client.{section}.hmac_secret_key has {size} bytes: HS256 wants at"
                f" least {HMAC_MIN_BYTES} (RFC 7518), or it can be guessed"
            )


def _find_bad_pem(config: Config) -> Iterator[str]:
    from tocsin.app.door_tls import find_tls_faults

    yield from find_tls_faults(config)


def _find_bad_redis(config: Config) -> Iterator[str]:
    """Certificates that an address names and that cannot be used."""
    addresses: list[tuple[str, str]] = []
    if config.engine.type == "redis":
        key = "engine.redis.address"
        addresses += [(key, url) for url in config.engine.redis.urls]
    if config.queue_kind == "redis":
        queue = config.push_notifications.queue.redis
        key = "push_notifications.queue.redis.address"
        if not queue.reuse_from_engine:
            addresses += [(key, address) for address in queue.address]
    if not any("_pem=" in address for _, address in addresses):
        return
    from tocsin.redis_access.connecting import (
        ConnectionLimits,
        UnusableAddress,
        open_client,
    )

    for key, address in addresses:
        try:
            _ = open_client(address, ConnectionLimits(1, 1))  # no connection is made
        except UnusableAddress as error:
            yield f"{key}: {error}"


def _find_bad_realtime(config: Config) -> Iterator[str]:
    from tocsin.app.realtime_settings import find_realtime_faults

    yield from find_realtime_faults(config)
