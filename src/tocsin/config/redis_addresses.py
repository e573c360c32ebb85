"""Addresses of Redis, as every section that names one takes them. Part of `config`.

It must not resolve or call any of them.
"""

from __future__ import annotations

import re

_REDIS_SCHEMES = (
    "redis",
    "rediss",
    "tcp",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_HOST_PORT = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s:/@\[\]]+):(\d{1,5})")


def check_redis(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Each address as it is; raises `ValueError` for one of no known form."""
    for address in addresses:
        scheme, colon, rest = address.partition("://")
        if colon:
            if scheme not in _REDIS_SCHEMES or not rest:
                raise ValueError(
                    f"must be host:port or a URL with {', '.join(_REDIS_SCHEMES)}"
                )
        elif not (match := _HOST_PORT.fullmatch(address)) or int(match[1]) > 65535:
            raise ValueError("must be host:port or a redis:// URL")
    return addresses
