"""Child processes that end with their parent, without a line of Python after a fork.

gRPC starts its threads anew in every forked child, even in one that is about to
become another program, and ends that child when its descriptors are closed. So
forks are kept from gRPC here (which has to be said before it is loaded), and children
ask the kernel themselves to end with their parent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_LAUNCHER = (
    "import ctypes, os, sys;"
    "ctypes.CDLL(None).prctl(1, 9);"  # PR_SET_PDEATHSIG, SIGKILL; outlives the exec
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """The command that runs `command` as the same process, killed with its parent."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
