"""API room: the error of a port that cannot be opened.

It opens nothing itself.
"""

from __future__ import annotations


class ListenError(Exception):
    """An address cannot be listened on; the text names it and says what to do."""

    def __init__(self, address: str, setting: str, reason: str) -> None:
        """`setting` is the configuration key of the port."""
        super().__init__(
            f"cannot listen on {address}: {reason}; stop what holds it, or set"
            f" {setting} to a free port"
        )


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    if ":" in host and not host.startswith("["):
        return f"[{host}]:{port}"
    return f"{host}:{port}"
