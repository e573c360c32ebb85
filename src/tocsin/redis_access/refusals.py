"""What an answer of Redis says about the server. Pure; part of the Redis ground room.

One place decides which answers mean "not the right server, or not now", and says in
words what a person can do.
"""

from __future__ import annotations

import re

from redis import exceptions as foreign

_REFUSALS = frozenset(
    {
        "READONLY",  # it became a replica
        "MASTERDOWN",  # a replica that lost its primary
        "LOADING",  # it has just been started
        "CLUSTERDOWN",
        "NOREPLICAS",  # cut off from the replicas that it must have
        "TRYAGAIN",  # a slot on its way
    }
)
_DEMOTED = "instance state changed"
"""In the UNBLOCKED error of a blocked read, when its primary became a replica."""

_WORDS = {
    "READONLY": "Redis is a read-only replica: point the address at the primary",
    "MASTERDOWN": (
        "Redis is a replica that has lost its primary: point the address at the primary"
    ),
    "LOADING": "Redis has been started and still loads its data: wait for it",
    "CLUSTERDOWN": "the Redis cluster is down: some of its slots have no server",
    "NOREPLICAS": (
        "Redis refuses writes, since too few replicas follow it: bring them back, or"
        " lower its min-replicas-to-write"
    ),
    "MISCONF": (
        "Redis refuses writes (MISCONF), since it cannot save to its own disk: free"
        " space there, its log says more"
    ),
    "OOM": "Redis is over maxmemory: give it more",
    "BUSY": "Redis is held up by a script that does not end: SCRIPT KILL ends it",
    "MOVED": (
        "another Redis has this key: the address of a cluster is written"
        " redis+cluster://host:port"
    ),
    "NOPERM": "Redis refuses a command: widen the user's ACL",
}
_PASSWORD = "Redis refuses the password: check the address"
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (foreign.BusyLoadingError, "LOADING"),
    (foreign.MasterDownError, "MASTERDOWN"),
    (foreign.ClusterDownError, "CLUSTERDOWN"),
    (foreign.ReadOnlyError, "READONLY"),
    (foreign.TryAgainError, "TRYAGAIN"),
    (foreign.OutOfMemoryError, "OOM"),
    (foreign.MovedError, "MOVED"),
    (foreign.NoPermissionError, "NOPERM"),
)
_CODE = re.compile(
    # At the start; within an error of a script (before Redis 7: "-READONLY …"); or
    # where the client says which command of several it was.
    r"(?:^|-|caused error: \(['\"])"
    rf"({'|'.join(sorted(_REFUSALS | set(_WORDS) | {'UNBLOCKED'}))}) "
)


def is_refusal(error: BaseException) -> bool:
    """Whether the server did nothing, because it is not (or not now) the one to ask.

    The command may be sent again, to the server that is in charge then.
    """
    code = _find_code(error)
    return code in _REFUSALS or (code == "UNBLOCKED" and _DEMOTED in str(error))


def find_words(error: BaseException) -> str:
    """What the answer means and what to do, for a person; or nothing.

    Holds no address, key or value.
    """
    if isinstance(error, foreign.AuthenticationError):
        return _PASSWORD
    if isinstance(error, foreign.ConnectionError) and "max number of clients" in str(
        error
    ):
        return "Redis has too many clients: raise its maxclients"
    return _WORDS.get(_find_code(error), "")


def _find_code(error: BaseException) -> str:
    # The library makes classes of these answers and takes their code out of the
    # text.
    for kind, code in _CLASSES:
        if isinstance(error, kind):
            return code
    if not isinstance(error, foreign.ResponseError):
        return ""
    found = _CODE.search(str(error))
    return found[1] if found else ""
