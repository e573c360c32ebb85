"""`tocsin gen-token`: a connection token under the configured secret, for trying out.

It must not keep anything: a back end makes its own tokens with the same secret.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tocsin.cli.arguments import shown
from tocsin.cli.configuration import add_config_arguments, read_config

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config

DAY_S = 24 * 3600
WEEK_S = 7 * DAY_S
_DAYS = re.compile(r"([0-9]{1,6})d(.*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare whose token it is, and for how long."""
    add_config_arguments(parser)
    add_token_arguments(parser)


def add_token_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every token has."""
    parser.add_argument(
        "-u", "--user", default="", help="user id; none is a connection without user"
    )
    parser.add_argument(
        "-t",
        "--ttl",
        type=parse_ttl,
        default=WEEK_S,
        metavar="DURATION",
        help="how long it is good, such as 30m, 12h, 7d, or a number of seconds"
        " (default: 7d; below 0: for ever)",
    )


def parse_ttl(text: str) -> int:
    """Seconds of a duration as the configuration has it, with days, or of a number.

    Below 0 is for ever. Raises `ArgumentTypeError`, for 0 too.
    """
    try:
        seconds = int(text)
    except ValueError:
        seconds = _parse_duration(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError(
            f"{text} would make a token that is over at once: take at least 1s, or"
            " -1 for ever"
        )
    return seconds


def _parse_duration(text: str) -> int:
    from tocsin.config.durations import parse_duration

    found = _DAYS.fullmatch(text)
    days, rest = (found[1], found[2]) if found else ("0", text)
    try:
        return int(days) * DAY_S + int(
            parse_duration(rest if rest or not found else "0")
        )
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} {error}, also 7d, or a number of seconds"
        ) from None


def run(args: argparse.Namespace) -> int:
    """Print the token; 2 without a secret."""
    return print_token(args, {}, section="token")


def print_token(
    args: argparse.Namespace, claims: Mapping[str, Any], *, section: str
) -> int:
    """Print a token with these claims and the ones that the options give."""
    from tocsin.channels.signatures import encode_hmac_token

    loaded = read_config(args)
    if loaded is None:
        return 2
    secret, key = _secret(loaded.config, section)
    if not secret:
        print(f"{key} is not set: there is nothing to sign with", file=sys.stderr)
        return 2
    if channel := claims.get("channel"):
        _warn_of_namespace(loaded.config, channel)
    now_s = int(time.time())
    times = {"iat": now_s}
    if args.ttl >= 0:
        times["exp"] = now_s + args.ttl
    print(encode_hmac_token({"sub": args.user, **times, **claims}, secret))
    return 0


def _warn_of_namespace(config: Config, channel: str) -> None:
    from tocsin.app.realtime_settings import namespace_settings
    from tocsin.channels.namespaces import Namespaces
    from tocsin.core.errors import NotAvailable, UnknownChannel

    namespaces = Namespaces(namespace_settings(config))
    try:
        namespaces.options_of(channel)
    except NotAvailable as error:
        print(
            f"warning: the server refuses the channel {channel!r}: {error.message}",
            file=sys.stderr,
        )
    except UnknownChannel:
        name = namespaces.namespace_of(channel)
        print(
            f"warning: no namespace {name!r} is configured: the server refuses the"
            f" channel {channel!r} (channel.namespaces)",
            file=sys.stderr,
        )


def _secret(config: Config, section: str) -> tuple[str, str]:
    client = config.client
    if section == "subscription_token" and client.subscription_token.enabled:
        key, token = "client.subscription_token", client.subscription_token
        return token.hmac_secret_key.get_secret_value(), f"{key}.hmac_secret_key"
    secret = client.token.hmac_secret_key.get_secret_value()
    return secret, "client.token.hmac_secret_key"
