"""Spoils the answer to a message that was accepted; knows no service and no HTTP.

The status stays what the service said: only what follows it is lost.
"""

from __future__ import annotations

from dataclasses import replace

from tocsin.simulator.exchange import Ending, Reply
from tocsin.simulator.faults import Fault

_PAGE = b"<!DOCTYPE html>\n<html lang=en><title>Welcome</title>\n"


def spoil(reply: Reply, fault: Fault | None) -> Reply:
    """The reply as the fault leaves it; a fault of any other kind leaves it alone."""
    match fault:
        case Fault.EMPTY:
            return replace(reply, body=b"")
        case Fault.PAGE:
            return replace(reply, body=_PAGE, content_type="text/html; charset=UTF-8")
        case Fault.HALF:
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case Fault.CUT:
            return replace(reply, ending=Ending.CUT)
        case Fault.STALL:
            return replace(reply, ending=Ending.STALL)
    return reply
