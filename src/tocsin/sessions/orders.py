"""Sessions room: the shapes of orders, which are what a session carries out.

An order is a command of the client, or of the server for it. The modules beside say
what each does, and `session.py` says when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import structlog

from tocsin.channels.refusing import explain
from tocsin.core.client_codes import (
    BAD_REQUEST,
    INTERNAL,
    NOT_AVAILABLE,
    UNKNOWN_CHANNEL,
    UNRECOVERABLE_POSITION,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientError,
    ClientFault,
    Disconnect,
)
from tocsin.core.errors import (
    ApiError,
    BadRequest,
    NotAvailable,
    UnknownChannel,
    UnrecoverablePosition,
)
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connection import ClientConnection, State
from tocsin.sessions.refusals import log_error_reply
from tocsin.telemetry.throttle import LineThrottle

# What `channels` refuses has the same meaning for clients, under their own numbers.
_FAULTS: dict[int, ClientError] = {
    UnknownChannel.code: UNKNOWN_CHANNEL,
    BadRequest.code: BAD_REQUEST,
    NotAvailable.code: NOT_AVAILABLE,
    UnrecoverablePosition.code: UNRECOVERABLE_POSITION,
}

log = structlog.get_logger(__name__)
lines = LineThrottle(log)


class Order(ABC):
    """Something to do for one connection. Orders of one channel run one by one.

    `name` is that of a client's command, `None` where the server gives the order.
    Orders of one channel with the same `together`, if it is not empty, may run at the
    same time. `outlives_bugs`: after an unexpected exception the client gets an error
    reply; without it the connection ends with 3004.
    """

    __slots__ = ()
    name: ClassVar[str | None] = None
    together: ClassVar[str] = ""
    outlives_bugs: ClassVar[bool] = False

    @property
    def channel(self) -> str:
        """The channel that it is about; empty where there is none."""
        return ""

    @abstractmethod
    async def run(self, connection: ClientConnection) -> None:
        """Do it, and tell the client.

        Raises `ClientFault`, `ClientDisconnect`, `ForeignData`, or an `ApiError`.
        """

    def refuse(self, connection: ClientConnection, fault: ClientFault) -> None:
        """Report that it has failed; the connection goes on."""
        log.warning(
            "an order of the server failed", client=connection.client, reason=str(fault)
        )


class EndOrder(Order):
    """End the connection.

    It is queued, so that the commands before a bad frame are still carried out.
    """

    __slots__ = ("_disconnect",)

    def __init__(self, disconnect: Disconnect) -> None:
        self._disconnect = disconnect

    async def run(self, connection: ClientConnection) -> None:  # noqa: ARG002 - as the others
        """See `Order`."""
        raise ClientDisconnect(self._disconnect)


class ClientOrder(Order):
    """A command of the client: answered under its `id`, with a result or an error."""

    __slots__ = ("id", "request")
    name: ClassVar[str] = ""
    outlives_bugs = True

    def __init__(self, id: int, request: Any) -> None:
        self.id = id
        self.request = request

    @property
    def channel(self) -> str:
        """See `Order`; of the request, if its kind names one."""
        return str(getattr(self.request, "channel", ""))

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""
        if not self.id or connection.state is not State.CONNECTED:
            raise ClientDisconnect(WRONG_COMMAND)
        await self.answer(connection)

    @abstractmethod
    async def answer(self, connection: ClientConnection) -> None:
        """Do it for a client that is connected, and reply."""

    def refuse(self, connection: ClientConnection, fault: ClientFault) -> None:
        """See `Order`."""
        connection.reply_error(self.id, fault.error, self.name)
        log_error_reply(
            connection,
            self.name,
            self.channel,
            fault.error.code,
            detail=explain(fault),
        )


class Query(ClientOrder):
    """A command whose reply holds what `ask` returns."""

    __slots__ = ()

    async def answer(self, connection: ClientConnection) -> None:
        """See `ClientOrder`."""
        result = await self.ask(connection)
        if not connection.is_closed:
            reply = pb.Reply(**{self.name: result})
            connection.reply(self.id, reply, self.name)

    @abstractmethod
    async def ask(self, connection: ClientConnection) -> Any:
        """What the reply holds."""


class ChannelQuery(Query):
    """A query about one channel."""

    __slots__ = ()

    async def ask(self, connection: ClientConnection) -> Any:
        """See `Query`."""
        if not self.request.channel:
            raise ClientDisconnect(WRONG_COMMAND)
        return await self.ask_channel(connection, self.request)

    @abstractmethod
    async def ask_channel(self, connection: ClientConnection, request: Any) -> Any:
        """What the reply holds; the channel's name is not empty."""


class UnknownOrder(ClientOrder):
    """A command that holds no request that this server knows."""

    __slots__ = ()

    async def answer(self, connection: ClientConnection) -> None:  # noqa: ARG002 - as the others
        """See `ClientOrder`."""
        raise ClientDisconnect(WRONG_COMMAND)


def fault_of(connection: ClientConnection, error: ApiError) -> ClientFault:
    """The error reply for a refusal of `channels` or a failure of a store."""
    told = _FAULTS.get(error.code)
    if told is not None:
        return ClientFault(told)
    lines.warning(
        "a command of a client failed", client=connection.client, reason=str(error)
    )
    return ClientFault(INTERNAL)
