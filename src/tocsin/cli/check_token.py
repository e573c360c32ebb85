"""`tocsin check-token`: what a token grants under the configuration, or why not.

It must not print keys; the token itself is never repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tocsin.cli.configuration import add_config_arguments, read_config

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the token and its kind."""
    add_config_arguments(parser)
    parser.add_argument("token", metavar="TOKEN", help="the token; - reads it")
    parser.add_argument(
        "--subscription", action="store_true", help="it is a subscription token"
    )


def run(args: argparse.Namespace) -> int:
    """Print its claims as JSON; 1 for a refused token, 2 for a wrong configuration."""
    loaded = read_config(args)
    if loaded is None:
        return 2
    from tocsin.app.realtime_settings import find_realtime_faults
    from tocsin.channels.claims import TokenExpired, TokenInvalid
    from tocsin.core.client_codes import ClientFault

    if faults := list(find_realtime_faults(loaded.config)):
        print("\n".join(faults), file=sys.stderr)
        return 2
    if fault := _find_no_key(loaded.config, is_subscription=args.subscription):
        print(fault, file=sys.stderr)
        return 2
    token = sys.stdin.read().strip() if args.token == "-" else args.token
    try:
        claims = asyncio.run(_verify(loaded.config, token, args.subscription))
    except TokenExpired as error:
        print(f"expired: {error}", file=sys.stderr)
    except TokenInvalid as error:
        print(f"invalid: {error}", file=sys.stderr)
    except ClientFault:
        print("the published keys cannot be fetched", file=sys.stderr)
    else:
        print(json.dumps(claims, indent=2, default=_show))
        return 0
    return 1


def _find_no_key(config: Config, *, is_subscription: bool) -> str:
    client = config.client
    if client.insecure_skip_token_signature_verify:
        return ""
    own = is_subscription and client.subscription_token.enabled
    token = client.subscription_token if own else client.token
    keys = (
        token.hmac_secret_key.get_secret_value(),
        token.hmac_previous_secret_key.get_secret_value(),
        token.rsa_public_key,
        token.ecdsa_public_key,
        token.jwks_public_endpoint,
    )
    if any(keys):
        return ""
    return (
        f"no key is configured: every token is refused; set hmac_secret_key,"
        f" rsa_public_key, ecdsa_public_key or jwks_public_endpoint of"
        f" client.{'subscription_token' if own else 'token'}"
    )


async def _verify(config: Config, token: str, is_subscription: bool) -> dict[str, Any]:
    from tocsin.app.realtime_settings import token_settings
    from tocsin.channels.tokens import TokenVerifier
    from tocsin.core.clock import SystemClock
    from tocsin.transports.key_fetcher import HttpKeyFetcher

    fetcher = HttpKeyFetcher()
    connection, subscription = token_settings(config)
    verifier = TokenVerifier(
        connection,
        subscription,
        clock=SystemClock(),
        fetcher=fetcher,
        skip_signature=config.client.insecure_skip_token_signature_verify,
    )
    try:
        if is_subscription:
            return asdict(await verifier.verify_subscription(token))
        return asdict(await verifier.verify_connection(token))
    finally:
        await fetcher.close()


def _show(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
