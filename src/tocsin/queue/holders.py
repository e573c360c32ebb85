"""Names the processes that hold queue entries.

Part of the queue room; it must not talk to any engine.
"""

from __future__ import annotations

import os
import secrets
import socket


def new_holder_name() -> str:
    """A name that no other process has or had.

    Host and process id are for the reader of a stuck queue; the random end keeps
    a restarted container, which gets both again, from taking an older one's name
    and with it entries that it does not have in hand.
    """
    host = "".join(c if c.isalnum() or c in "-." else "-" for c in socket.gethostname())
    return f"{host[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
