"""The names of what can be called, for rights that are given by name. Pure.

The schema has the same names, which a test checks; it knows no transport.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tocsin.core.glob import BadGlob, compile_glob

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_case(rpc: str) -> str:
    """`DeviceRegister` → `device_register`, `RPC` → `rpc`."""
    return _WORD.sub("_", rpc).lower()


RPCS = (
    *("Batch", "Publish", "Broadcast", "Subscribe", "Unsubscribe", "Disconnect"),
    *("Presence", "PresenceStats", "History", "HistoryRemove", "Info", "RPC"),
    *("Refresh", "Channels", "Connections"),
    *("UpdateUserStatus", "GetUserStatus", "DeleteUserStatus"),
    *("BlockUser", "UnblockUser", "RevokeToken", "InvalidateUserTokens"),
    *("DeviceRegister", "DeviceUpdate", "DeviceRemove", "DeviceList"),
    *("DeviceTopicList", "DeviceTopicUpdate", "UserTopicList", "UserTopicUpdate"),
    *("SendPushNotification", "UpdatePushStatus", "CancelPush"),
    *("MapPublish", "MapRemove", "MapReadState", "MapReadStream", "MapStats"),
    *("MapClear", "SharedPollPublish"),
)
"""Every RPC of the API."""
ADMIN_RPCS = (
    *("ListDeadLetters", "ListDeadLetterGroups", "GetDeadLetter"),
    *("ReplayDeadLetters", "PurgeDeadLetters", "ListAuditLog"),
    *("GetSend", "ListSends", "AuditSends"),
    *("ListCredentials", "ProbeCredential", "CloseCredential"),
    *("ListRemovals", "ApproveRemovals", "RestoreRemovals"),
    *("ListResults", "WatchResults"),
)
"""Every RPC of the service for operators."""

ADMIN_PREFIX = "admin."
API_METHODS = frozenset({*map(snake_case, RPCS), "push_funnel"})
"""What a key without a list of methods may call; HTTP alone has `push_funnel`."""
ADMIN_METHODS = frozenset(ADMIN_PREFIX + snake_case(rpc) for rpc in ADMIN_RPCS)
"""What only a key may call that names it."""

_BY_RPC = {
    **{rpc: snake_case(rpc) for rpc in RPCS},
    **{ADMIN_PREFIX + rpc: ADMIN_PREFIX + snake_case(rpc) for rpc in ADMIN_RPCS},
}


def find_methods(pattern: str) -> frozenset[str]:
    """The methods that a name or a pattern (`device_*`) means; empty for none.

    A name may also be written as the schema has it (`DeviceRegister`). `*` is the whole
    API without the operators' service, whose methods begin with `admin.`.
    """
    pattern = _BY_RPC.get(pattern, pattern)
    is_admin = pattern.startswith(ADMIN_PREFIX)
    known: Collection[str] = ADMIN_METHODS if is_admin else API_METHODS
    try:
        fits = compile_glob(pattern).fullmatch
    except BadGlob:
        return frozenset()
    return frozenset(name for name in known if fits(name))
