"""Codes and texts of the client protocol, as published. Tables, no behaviour.

The texts are exactly these; unlike the server API's, nothing is appended. The one
exception is `invalid_token`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientError:
    """An error reply to one command."""

    code: int
    message: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Why a subscription ended. From 2500 on the SDK subscribes again."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Why a connection ended. 3500-3999 and 4500-4999 are for good."""

    code: int
    reason: str


class ClientFault(Exception):
    """Ends a command with an error reply; the connection stays."""

    def __init__(self, error: ClientError) -> None:
        self.error = error
        super().__init__(error.message)


class ClientDisconnect(Exception):
    """Ends the connection."""

    def __init__(self, disconnect: Disconnect) -> None:
        self.disconnect = disconnect
        super().__init__(disconnect.reason)


INTERNAL = ClientError(100, "internal server error", temporary=True)
UNAUTHORIZED = ClientError(101, "unauthorized")
UNKNOWN_CHANNEL = ClientError(102, "unknown channel")
PERMISSION_DENIED = ClientError(103, "permission denied")
METHOD_NOT_FOUND = ClientError(104, "method not found")
ALREADY_SUBSCRIBED = ClientError(105, "already subscribed")
LIMIT_EXCEEDED = ClientError(106, "limit exceeded")
BAD_REQUEST = ClientError(107, "bad request")
NOT_AVAILABLE = ClientError(108, "not available")
TOKEN_EXPIRED = ClientError(109, "token expired")
EXPIRED = ClientError(110, "expired")
TOO_MANY_REQUESTS = ClientError(111, "too many requests", temporary=True)
UNRECOVERABLE_POSITION = ClientError(112, "unrecoverable position")
CONCURRENT_PAGINATION = ClientError(113, "concurrent pagination", temporary=True)

UNSUBSCRIBE_SERVER = Unsubscribe(2000, "server unsubscribe")
UNSUBSCRIBE_INSUFFICIENT = Unsubscribe(2500, "insufficient state")
UNSUBSCRIBE_EXPIRED = Unsubscribe(2501, "subscription expired")
UNSUBSCRIBE_INVALIDATED = Unsubscribe(2502, "state invalidated")

CONNECTION_CLOSED = Disconnect(3000, "connection closed")
SHUTDOWN = Disconnect(3001, "shutdown")
SERVER_ERROR = Disconnect(3004, "internal server error")
CONNECTION_EXPIRED = Disconnect(3005, "connection expired")
SUBSCRIPTION_EXPIRED = Disconnect(3006, "subscription expired")
SLOW = Disconnect(3008, "slow")
WRITE_ERROR = Disconnect(3009, "write error")
INSUFFICIENT_STATE = Disconnect(3010, "insufficient state")
FORCE_RECONNECT = Disconnect(3011, "force reconnect")
NO_PONG = Disconnect(3012, "no pong")
TOO_MANY_COMMANDS = Disconnect(3013, "too many requests")
STATE_INVALIDATED = Disconnect(3014, "state invalidated")
INVALID_TOKEN = Disconnect(3500, "invalid token")
WRONG_COMMAND = Disconnect(3501, "bad request")
STALE = Disconnect(3502, "stale")
FORCE_DISCONNECT = Disconnect(3503, "force disconnect")
CONNECTION_LIMIT = Disconnect(3504, "connection limit")
CHANNEL_LIMIT = Disconnect(3505, "channel limit")
INAPPROPRIATE_PROTOCOL = Disconnect(3506, "inappropriate protocol")
DENIED = Disconnect(3507, "permission denied")
UNAVAILABLE = Disconnect(3508, "not available")
TOO_MANY_ERRORS = Disconnect(3509, "too many errors")


def invalid_token(why: str) -> Disconnect:
    """3500 with its reason, for a client whose token has a valid signature.

    Any other client gets `INVALID_TOKEN` alone.
    """
    return Disconnect(INVALID_TOKEN.code, f"{INVALID_TOKEN.reason}: {why}")
