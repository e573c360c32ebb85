"""Sessions room: carries out one command of a connected client, and replies.

It must not decide what comes when: the session takes commands in order and knows
what a failure means for the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tocsin.core.client_codes import SERVER_ERROR, WRONG_COMMAND, ClientDisconnect
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions import queries
from tocsin.sessions.connecting import refresh
from tocsin.sessions.connection import ClientSubscription, Connection
from tocsin.sessions.subscribing import subscribe

IN_FLIGHT_WAIT_S = 5.0

# Of several requests in one command, the first of these counts.
_FIRST_OF = (
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "send",
    "refresh",
    "sub_refresh",
)
_Query = Callable[[Connection, Any], Awaitable[Any]]
_QUERIES: dict[str, _Query] = {
    "publish": queries.publish,
    "presence": queries.read_presence,
    "presence_stats": queries.read_presence_stats,
    "history": queries.read_history,
    "rpc": queries.call,
    "refresh": refresh,
    "sub_refresh": queries.refresh_subscription,
}


@dataclass(frozen=True, slots=True)
class ClientCommand:
    """A command and the name of its request, empty for one that is unknown."""

    name: str
    message: pb.Command


def name_command(message: pb.Command) -> ClientCommand:
    """Find out which request a command holds."""
    name = next((each for each in _FIRST_OF if message.HasField(each)), "")
    return ClientCommand(name, message)


def channel_of(command: ClientCommand) -> str:
    """The channel that a command is about, empty where it is about none."""
    return str(getattr(getattr(command.message, command.name), "channel", ""))


async def run_command(connection: Connection, command: ClientCommand) -> None:
    """Any command but connect and send; raises `ClientFault`, `ClientDisconnect`."""
    name, message = command.name, command.message
    if name == "subscribe":
        await subscribe(connection, message.id, message.subscribe)
    elif name == "unsubscribe":
        await _unsubscribe(connection, message.id, message.unsubscribe)
    else:
        result = await _QUERIES[name](connection, getattr(message, name))
        if not connection.is_closed:
            connection.reply(message.id, pb.Reply(**{name: result}), name)


async def _unsubscribe(
    connection: Connection, command_id: int, request: pb.UnsubscribeRequest
) -> None:
    channel = request.channel
    if not channel:
        raise ClientDisconnect(WRONG_COMMAND)
    subscription = connection.subscriptions.get(channel)
    if subscription is not None and not subscription.is_active:
        await _wait_until_settled(subscription)
    subscription = connection.drop_subscription(channel)
    reply = pb.Reply(unsubscribe=pb.UnsubscribeResult())
    connection.reply(command_id, reply, "unsubscribe")
    if subscription is not None:
        await connection.finish_goodbye([subscription])


async def _wait_until_settled(subscription: ClientSubscription) -> None:
    if subscription.settled is None:
        subscription.settled = asyncio.Event()
    try:
        async with asyncio.timeout(IN_FLIGHT_WAIT_S):
            await subscription.settled.wait()
    except TimeoutError:
        raise ClientDisconnect(SERVER_ERROR) from None
