"""Who works at this command line, for the audit log. It must stay cheap to import."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # structlog costs more than all of `--help` may
    from tocsin.admin.actor import Actor


def shell_actor() -> Actor:
    """The user of this process and the machine that it runs on."""
    from tocsin.admin.actor import Actor

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may have no user of that number
        name = f"uid {os.getuid()}"
    # A database takes no bytes that are no text.
    name = name.encode(errors="replace").decode()
    return Actor(name, socket.gethostname(), "cli")
