"""The second half of the demo: users who are online hear it there, and no phone rings.

Composition only, beside `demo.py`: clients speak the published protocol over real
WebSockets, and the send is an ordinary one with `online_first`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import jwt

from tocsin.protocol import api_pb2, api_pb2_grpc

USERS = 200
NAMESPACE = "live"
CHANNEL = f"{NAMESPACE}:kick-off"
DATA = b'{"title":"Kick-off in ten minutes"}'
DEADLINE_S = 20.0
NAMESPACE_OPTIONS = {
    "name": NAMESPACE,
    "presence": True,
    "allow_subscribe_for_client": True,
}


class OnlineError(Exception):
    """Clients could not be served, or not all heard; the text says which."""


@dataclass(slots=True)
class Online:
    """What became of the users who were online; times in seconds and milliseconds."""

    users: int = 0
    connect_s: float = 0.0
    heard: int = 0
    last_heard_ms: float = 0.0


def users_of(devices: Sequence[api_pb2.DeviceRegisterRequest]) -> list[str]:
    """The first users that devices belong to, each once."""
    return list(dict.fromkeys(each.user for each in devices if each.user))[:USERS]


async def connect_and_tell(
    http_origin: str,
    api: api_pb2_grpc.CentrifugoApiStub,
    *,
    metadata: tuple[tuple[str, str], ...],
    token_secret: str,
    users: Sequence[str],
    notification: api_pb2.PushNotification,
) -> Online:
    """Connect a client for each user, send to them all, and count who hears it.

    Raises `OnlineError`.
    """
    loop = asyncio.get_running_loop()
    online = Online(users=len(users))
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)  # one for each user
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector)
        )
        started = loop.time()
        sockets = await _connect_all(session, http_origin, users, token_secret)
        for socket in sockets:
            stack.push_async_callback(socket.close)
        online.connect_s = loop.time() - started
        request = api_pb2.SendPushNotificationRequest(notification=notification)
        request.notification.ClearField("uid")  # it is another send
        request.recipient.filter.users.extend(users)
        request.online_first.channel = CHANNEL
        request.online_first.data = DATA
        started = loop.time()
        hearing = [asyncio.create_task(_hear(socket)) for socket in sockets]
        answer = await api.SendPushNotification(request, metadata=metadata)
        if answer.error.code:
            raise OnlineError(f"the send was refused: {answer.error.message}")
        await asyncio.wait(hearing, timeout=DEADLINE_S)
        heard = [task.result() for task in hearing if _is_done_well(task)]
        for task in hearing:
            task.cancel()
        online.heard = len(heard)
        online.last_heard_ms = (max(heard, default=started) - started) * 1000
    return online


async def _connect_all(
    session: aiohttp.ClientSession, origin: str, users: Sequence[str], secret: str
) -> list[aiohttp.ClientWebSocketResponse]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.gather(
                *(_connect(session, origin, user, secret) for user in users)
            )
    except (aiohttp.ClientError, TimeoutError, TypeError) as error:
        # A TypeError is a frame that is no text: the server closed the connection.
        raise OnlineError(f"a client could not connect: {error!r}") from None


async def _connect(
    session: aiohttp.ClientSession, origin: str, user: str, secret: str
) -> aiohttp.ClientWebSocketResponse:
    socket = await session.ws_connect(f"{origin}/connection/websocket")
    token = jwt.encode({"sub": user}, secret, algorithm="HS256")
    commands = ({"connect": {"token": token}}, {"subscribe": {"channel": CHANNEL}})
    text = "\n".join(
        json.dumps({"id": number, **command})
        for number, command in enumerate(commands, 1)
    )
    await socket.send_str(text)
    answered = 0
    while answered < len(commands):
        for line in (await socket.receive_str()).splitlines():
            reply = json.loads(line)
            if "error" in reply:
                raise OnlineError(f"user {user}: {reply['error']['message']}")
            answered += "id" in reply
    return socket


async def _hear(socket: aiohttp.ClientWebSocketResponse) -> float:
    """The loop's time at which the publication came."""
    while True:
        for line in (await socket.receive_str()).splitlines():
            push = json.loads(line).get("push", {})
            if push.get("channel") == CHANNEL and "pub" in push:
                return asyncio.get_running_loop().time()


def _is_done_well(task: asyncio.Task[float]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
