"""Whether an idle connection to PostgreSQL still has its server.

Part of the storage room; it must not run a statement: it looks at the socket.
"""

from __future__ import annotations

import select
from typing import Any

from sqlalchemy.exc import DisconnectionError

KEEPALIVES = {
    # A way between that forgets an idle connection says nothing: the host finds it
    # out in 45 s, and in the midst of a statement in 10 s.
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Connection options for libpq, where the dsn names others those are taken."""

_TRIES = 4
"""What came unasked (a notice, a changed setting) takes one; then comes the end."""


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
            connection.consume_input()
    except Exception as error:  # any fault of a connection that nobody uses yet
        raise DisconnectionError("the server ended the connection") from error
    raise DisconnectionError("the connection brings what nobody asked for")
