"""Channels room: the reason of a client's refusal, besides the code that it gets.

It must not log; it decides which reasons the client is told, and which only the log.
"""

from __future__ import annotations

from tocsin.channels.claims import TokenExpired, TokenInvalid
from tocsin.core.client_codes import (
    INVALID_TOKEN,
    ClientDisconnect,
    ClientFault,
    invalid_token,
)


class Because(Exception):
    """The reason of a client's error; raised as its `__cause__`.

    It is for the log, and for the client only where `invalid_by` adds it. The text
    names what to change, and holds no secret and no data.
    """


def explain(error: ClientDisconnect | ClientFault) -> str:
    """The reason behind the code of this error, empty where none was given."""
    cause = error.__cause__
    if isinstance(cause, TokenExpired | TokenInvalid | Because):
        return str(cause)
    return ""


def invalid_by(why: TokenInvalid | Because) -> ClientDisconnect:
    """The disconnect 3500 for a token; raise it `from why`, for the log.

    The client is told the reason only if the token's signature is good.
    """
    is_proven = isinstance(why, Because) or why.is_proven
    return ClientDisconnect(invalid_token(str(why)) if is_proven else INVALID_TOKEN)
