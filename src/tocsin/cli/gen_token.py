"""`tocsin gen-token`: a connection token under the configured secret, for trying out.

It must not keep anything: a back end makes its own tokens with the same secret.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tocsin.cli.configuration import add_config_arguments, read_config

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config

WEEK_S = 7 * 24 * 3600


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
        type=int,
        default=WEEK_S,
        metavar="SECONDS",
        help="how long it is good (default: a week; below 0: for ever)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the token; 2 without a secret."""
    return print_token(args, {}, section="token")


def print_token(
    args: argparse.Namespace, claims: Mapping[str, Any], *, section: str
) -> int:
    """Print a token with these claims besides those of the options."""
    from tocsin.channels.signatures import encode_hmac_token

    loaded = read_config(args)
    if loaded is None:
        return 2
    secret, key = _secret(loaded.config, section)
    if not secret:
        print(f"{key} is not set: there is nothing to sign with", file=sys.stderr)
        return 2
    now_s = int(time.time())
    times = {"iat": now_s}
    if args.ttl >= 0:
        times["exp"] = now_s + args.ttl
    print(encode_hmac_token({"sub": args.user, **times, **claims}, secret))
    return 0


def _secret(config: Config, section: str) -> tuple[str, str]:
    client = config.client
    if section == "subscription_token" and client.subscription_token.enabled:
        key, token = "client.subscription_token", client.subscription_token
        return token.hmac_secret_key.get_secret_value(), f"{key}.hmac_secret_key"
    secret = client.token.hmac_secret_key.get_secret_value()
    return secret, "client.token.hmac_secret_key"
