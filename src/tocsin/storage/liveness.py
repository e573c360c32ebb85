"""Whether an idle connection to PostgreSQL still has its server.

Part of the storage room; it must not run a statement: it looks at the socket.
"""

from __future__ import annotations

import os
import select
from typing import Any

from sqlalchemy.exc import DisconnectionError

_DEFAULTS = {
    # A device on the way that drops an idle connection says nothing. With these the
    # host finds out in 45 s, and during a statement in 10 s.
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # For each address of a host. The driver's own 130 s are longer than anybody waits
    # for a connection, so that a second address would never be tried.
    "connect_timeout": "10",
}
_TRIES = 4
"""Looks at the socket: each notice or changed setting that came unasked takes one."""


def connection_defaults() -> dict[str, str]:
    """Options for libpq, where neither the dsn nor the environment names others."""
    if "PGCONNECT_TIMEOUT" in os.environ:
        return {k: v for k, v in _DEFAULTS.items() if k != "connect_timeout"}
    return dict(_DEFAULTS)


def refuse_ended(_connection: Any, record: Any, _proxy: Any) -> None:
    """For the pool's event `checkout`: raise where the server ended the connection.

    The pool dials anew then, and nobody's statement has been sent.
    """
    if not hasattr(select, "poll"):
        return
    connection = record.driver_connection.pgconn
    try:
        poll = select.poll()
        poll.register(connection.socket, select.POLLIN)
        for _ in range(_TRIES):
            if not poll.poll(0):
                return
            # It raises where the server has ended the connection.
            connection.consume_input()
    except Exception as error:  # any fault of a connection that nobody uses yet
        raise DisconnectionError("the server ended the connection") from error
    raise DisconnectionError("the connection brings what nobody asked for")
