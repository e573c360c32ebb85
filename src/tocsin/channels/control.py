"""Channels room: the server API's commands to connections, on whichever node.

It must not touch a connection itself: the control bus takes commands to all nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tocsin.channels.namespaces import Namespaces, check_named
from tocsin.channels.payloads import decode_payload
from tocsin.core.control import (
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.core.errors import BadRequest
from tocsin.core.ports.channels import ControlBus, LocalConnections
from tocsin.core.ports.clock import Clock
from tocsin.protocol.tags_filter import BadFilter, compile_label_filter

HIGHEST_CODE = 65_535
"""The highest code of a disconnect: a WebSocket close frame has 16 bits for it."""


@dataclass(frozen=True, slots=True)
class EncodedParts:
    """The base64 fields of a command; each replaces `info` or `data` if it is set."""

    b64info: str = ""
    b64data: str = ""


class ControlService:
    """Subscribe, unsubscribe, disconnect and refresh of the server API.

    They return when the bus has the command: nobody waits until other nodes have
    carried it out, or learns how many connections it reached.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        bus: ControlBus,
        *,
        clock: Clock,
        local: LocalConnections,
    ) -> None:
        self._namespaces = namespaces
        self._bus = bus
        self._clock = clock
        self._local = local

    async def subscribe(
        self, command: SubscribeCommand, encoded: EncodedParts | None = None
    ) -> None:
        """Subscribe the target's connections.

        Raises `UnknownChannel`, `NotAvailable`, and `BadRequest`. An `expire_at` in the
        past is a `BadRequest` only where this node has a connection for it.
        """
        check_named(command.channel)
        self._namespaces.options_of(command.channel)
        check_target(command.target)
        if encoded is not None:
            command = replace(
                command,
                info=decode_payload(command.info, encoded.b64info, "b64info"),
                data=decode_payload(command.data, encoded.b64data, "b64data"),
            )
        if command.expire_at and command.expire_at <= self._clock.now_ms() // 1000:
            if self._local.has_match(command.target):
                raise BadRequest("expire_at", "must be in the future, or 0 for never")
            return  # it would fail on every other node as well
        await self._bus.broadcast(command)

    async def unsubscribe(self, command: UnsubscribeCommand) -> None:
        """End subscriptions; an empty channel is passed on as it is.

        Raises `UnknownChannel`, `NotAvailable`; `BadRequest` for a bad label filter.
        """
        if command.channel:
            self._namespaces.options_of(command.channel)
        check_target(command.target)
        await self._bus.broadcast(command)

    async def disconnect(self, command: DisconnectCommand) -> None:
        """Close connections.

        Raises `BadRequest` for a bad label filter, or a code that a WebSocket's
        close frame cannot hold.
        """
        if command.disconnect.code > HIGHEST_CODE:
            raise BadRequest("disconnect.code", f"must be at most {HIGHEST_CODE}")
        check_target(command.target)
        await self._bus.broadcast(command)

    async def refresh(self, command: RefreshCommand) -> None:
        """Move or end expiry; raises `BadRequest` for a bad label filter."""
        check_target(command.target)
        await self._bus.broadcast(command)


def check_target(target: Target) -> None:
    """Raise `BadRequest` for a label filter that is no condition."""
    if target.label_filter is None:
        return
    try:
        compile_label_filter(target.label_filter)
    except BadFilter as error:
        raise BadRequest("label_filter", str(error)) from None
