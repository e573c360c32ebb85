"""The options by which a verb gets its configuration; decides nothing else.

It must stay cheap to import: every verb's arguments are built for `--help`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tocsin.cli.arguments import file_name, shown_option

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import LoadedConfig

FLAGS = (
    "http_server.address",
    "http_server.port",
    "http_api.insecure",
    "grpc_api.enabled",
    "grpc_api.address",
    "grpc_api.port",
    "grpc_api.insecure",
    "health.enabled",
    "prometheus.enabled",
    "database.sqlite.path",
    "worker.port",
    "worker.concurrency",
    "log.level",
)
"""Keys with a flag of their own; `--set` takes any. Secrets get none: a command
line can be read by everybody on the machine."""


class _Override(argparse.Action):
    """Collects values by key in `args.overrides`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 - argparse's signature
    ) -> None:
        key, value = self.option_strings[0].removeprefix("--"), str(values)
        if key == "set":
            key, equals, value = value.partition("=")
            if not equals or not key:
                parser.error("--set takes KEY=VALUE")
        if key in namespace.overrides:
            parser.error(f"{shown_option(key)} is set twice; say which value counts")
        # A new dict: the default is shared between parsers.
        namespace.overrides = {**namespace.overrides, key: value}


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`, `--set` and a flag for each of the usual keys."""
    parser.add_argument(
        "-c",
        "--config",
        type=file_name,
        metavar="FILE",
        help="configuration: JSON, YAML or TOML",
    )
    parser.add_argument(
        "--set",
        action=_Override,
        dest="overrides",
        metavar="KEY=VALUE",
        default={},
        help="set any key, over environment and file; may be repeated",
    )
    group = parser.add_argument_group("keys with a flag of their own")
    for key in FLAGS:
        group.add_argument(
            f"--{key}", action=_Override, dest="overrides", metavar="VALUE", default={}
        )


def add_log_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config` for a verb that makes its own settings."""
    parser.add_argument(
        "-c",
        "--config",
        type=file_name,
        metavar="FILE",
        help="configuration; only its log.level counts here",
    )
    parser.set_defaults(overrides={})


def read_log_level(args: argparse.Namespace, default: str) -> str | None:
    """`log.level` of the configuration, `default` without one.

    `None` means wrong configuration, as with `read_config`.
    """
    if args.config is None:
        return default
    loaded = read_config(args)
    return None if loaded is None else loaded.config.log.level


def load(
    args: argparse.Namespace, *, environ: Mapping[str, str] | None = None
) -> LoadedConfig:
    """As `read_config`, but raises `ConfigError` and prints nothing."""
    from tocsin.config import load_config

    return load_config(
        args.config,
        environ=os.environ if environ is None else environ,
        overrides=args.overrides,
    )


def read_config(
    args: argparse.Namespace, *, environ: Mapping[str, str] | None = None
) -> LoadedConfig | None:
    """The configuration that the options ask for, with this process's environment.

    `None` means wrong configuration: all faults are on standard error, and the
    exit code is 2.
    """
    from tocsin.config import ConfigError

    try:
        return load(args, environ=environ)
    except ConfigError as error:
        count = len(error.faults)
        print(
            f"configuration: {count} fault{'s' if count > 1 else ''}", file=sys.stderr
        )
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
        return None
