"""Sessions room: what the protocol state machine asks of a connection's edge.

It must not know the protocol: bytes go down framed, and an end has a code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tocsin.core.client_codes import Disconnect
from tocsin.protocol.frames import WireForm


@dataclass(frozen=True, slots=True)
class Traits:
    """What kind of transport a connection has.

    `name` is the one in metrics and in the server API. An `emulated` transport takes
    the client's commands over other requests: it is found by its session id, and the
    client is told its node. `pushes_disconnect`: the code of a disconnect goes out as
    a push; else in the transport's own way of closing. `pings`: the protocol's own
    pings go out; `native_pings`: `Link.ping` is called, as well or instead.
    `ends_after_refusal`: a refused connect ends the connection. `keeps_error_codes`:
    a refused one-way connect ends with the error's own code, for the transport to
    translate.
    """

    name: str
    form: WireForm
    emulated: bool = False
    pushes_disconnect: bool = False
    pings: bool = True
    native_pings: bool = False
    ends_after_refusal: bool = False
    keeps_error_codes: bool = False


class Link(Protocol):
    """The edge of one connection; no call blocks or raises."""

    def write(self, data: bytes) -> None:
        """Queue framed bytes."""
        ...

    def ping(self) -> None:
        """Send the transport's own ping."""
        ...

    def close(self, disconnect: Disconnect) -> None:
        """Write what is queued, tell the code if the transport can, and end."""
        ...

    def end(self) -> None:
        """End without a code."""
        ...

    def pause_reading(self) -> None:
        """Take no more from the client for now."""
        ...

    def resume_reading(self) -> None:
        """Go on taking."""
        ...
