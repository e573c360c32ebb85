"""`tocsin gen-sub-token`: a subscription token under the configured secret.

It must not keep anything: a back end makes its own tokens with the same secret.
"""

from __future__ import annotations

import argparse

from tocsin.cli.configuration import add_config_arguments
from tocsin.cli.gen_token import add_token_arguments, print_token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare whose token it is, for what, and for how long."""
    add_config_arguments(parser)
    add_token_arguments(parser)
    parser.add_argument("-s", "--channel", required=True, help="channel")


def run(args: argparse.Namespace) -> int:
    """Print the token; 2 without a secret."""
    return print_token(args, {"channel": args.channel}, section="subscription_token")
