"""Channels room: why a client is refused, beside the code that it gets.

It must not write lines; it says what may be told, and what is for the log alone.
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
    """Why a client gets a code, as the cause of that error.

    For the log alone, unless `invalid_by` tells it. The text names what to change;
    it holds nothing that must not be read.
    """


def explain(error: ClientDisconnect | ClientFault) -> str:
    """What the code of this error does not say, empty where nothing is known."""
    cause = error.__cause__
    if isinstance(cause, TokenExpired | TokenInvalid | Because):
        return str(cause)
    return ""


def invalid_by(why: TokenInvalid | Because) -> ClientDisconnect:
    """3500 for a token; says why where its signature is good, else to the log alone.

    Raise it `from why`.
    """
    is_proven = isinstance(why, Because) or why.is_proven
    return ClientDisconnect(invalid_token(str(why)) if is_proven else INVALID_TOKEN)
