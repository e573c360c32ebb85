"""`tocsin gen-key`: a new key of the server API, and the entry that lets it in.

It must not keep anything: the key is shown once, and the entry holds its hash alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
from typing import TYPE_CHECKING

from tocsin.cli.configuration import add_config_arguments, read_config

if TYPE_CHECKING:  # pydantic costs more than all of `--help` may
    from tocsin.config import Config

KEY_BYTES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare whose key it is."""
    add_config_arguments(parser)
    parser.add_argument(
        "-n", "--name", default="NAME", help="who gets it; no two keys share a name"
    )


def run(args: argparse.Namespace) -> int:
    """Print key and entry; 2 for a name that the configuration has or cannot have."""
    loaded = read_config(args)
    if loaded is None:
        return 2
    if fault := _find_fault(args.name, loaded.config):
        print(f"tocsin gen-key: --name: {fault}", file=sys.stderr)
        return 2
    key = secrets.token_urlsafe(KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = json.dumps({"name": args.name, "key_sha256": digest})
    print(f"key:   {key}")
    print(f"entry: {entry}")
    print(
        "Give the key to its holder, since it is shown this once; put the entry into"
        " http_api.keys or grpc_api.keys.",
        file=sys.stderr,
    )
    return 0


def _find_fault(name: str, config: Config) -> str:
    from pydantic import ValidationError

    from tocsin.config.api_keys import ApiKey

    try:
        ApiKey.model_validate({"name": name, "key": "x"})
    except ValidationError:
        return "letters, digits, - _ and . make a name, 64 at most"
    for path, door in (("http_api", config.http_api), ("grpc_api", config.grpc_api)):
        if any(each.name == name for each in door.keys):
            return (
                f"{name} is in {path}.keys already; a new key needs a name of its own"
            )
    return ""
