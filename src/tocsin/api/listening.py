"""API room: the error of a port that cannot be opened, and a check before opening it.

It keeps nothing open.
"""

from __future__ import annotations

import errno
import socket

from tocsin.config.showing import show_host

IN_USE = "the port is in use"


class ListenError(Exception):
    """An address cannot be listened on; the text names it and says what to do."""

    def __init__(self, address: str, setting: str, reason: str) -> None:
        """`setting` is the configuration key of the port."""
        host, _, port = address.rpartition(":")
        super().__init__(
            f"cannot listen on {show_host(host)}:{port}: {reason}; stop what holds it,"
            f" or set {setting} to a free port"
        )


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    if ":" in host and not host.startswith("["):
        return f"[{host}]:{port}"
    return f"{host}:{port}"


def check_free(host: str, port: int, setting: str, *, reuse_port: bool) -> None:
    """Raise `ListenError` for a port that another socket holds.

    For gRPC, which does not say why it failed and logs lines of its own about it. Other
    errors of the address are left to it.
    """
    if not port:
        return
    for family, place in _candidates(host, port):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # Closed connections of an earlier process do not hold the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if reuse_port:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    only_6 = int(bool(host))  # without a host, IPv4 is probed with it
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_6)
                probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                address = join_address(host or "*", port)
                raise ListenError(address, setting, IN_USE) from None


def _candidates(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    if not host:
        return [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("", port))]
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [(family, (str(at[0]), port)) for family, _, _, _, at in found]
