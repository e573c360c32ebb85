"""How much of a client is read at once, and how long its commands keep the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from tests.support.sessions import SessionClient

from tocsin.hub.share import TurnShare, Waiting
from tocsin.sessions import session as session_module
from tocsin.sessions.context import Context
from tocsin.sessions.session import COMMANDS_AT_ONCE
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
HIGH, LOW = session_module._INBOX_HIGH, session_module._INBOX_LOW
RPC = b'{"id":5,"rpc":{"method":"held"}}\n'


class HandTurned(TurnShare):
    """Its turns come when the test says so."""

    __slots__ = ("pauses", "waiting")

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.waiting: list[Waiting] = []
        self.pauses = 0

    def wait(self, entry: Waiting) -> None:
        self.waiting.append(entry)

    async def pause(self, *, is_long: bool = False) -> None:
        self.pauses += 1

    def turn(self) -> None:
        """Let all that wait go on once."""
        entries, self.waiting = self.waiting, []
        for entry in entries:
            entry.go_on()


class Held:
    """An RPC whose calls end one by one, when the test says so."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(0)

    async def __call__(self, user: str, data: bytes) -> bytes:
        await self._free.acquire()
        return b""

    async def end(self, count: int) -> None:
        """Let so many calls end, one after the other."""
        for _ in range(count):
            self._free.release()
            for _ in range(5):
                await asyncio.sleep(0)


async def open_client(
    node: Node, held: Held, *, concurrency: int = 1
) -> tuple[SessionClient, HandTurned]:
    """A client that is connected, and the share that its session waits in."""
    context = node(
        SessionSettings(insecure=True, concurrency=concurrency), rpc={"held": held}
    )
    share = context.hub.share = HandTurned()
    client = SessionClient(context)
    await client.connect()
    return client, share


def num_waiting(client: SessionClient) -> int:
    return client.session._num_waiting


async def test_a_long_frame_waits_once_for_each_share(node: Node) -> None:
    """The next share waits behind those of others, and only once."""
    client, share = await open_client(node, Held())
    client.session.receive(RPC * (3 * COMMANDS_AT_ONCE + 1))
    for shares in (1, 2, 3):
        assert num_waiting(client) == shares * COMMANDS_AT_ONCE
        assert share.waiting == [client.session]
        assert client.link.is_paused
        share.turn()
    assert num_waiting(client) == 3 * COMMANDS_AT_ONCE + 1
    assert share.waiting == []
    assert not client.link.is_paused


async def test_reading_stops_until_few_commands_wait(node: Node) -> None:
    """With many waiting the session asks for no share, and its link is left alone."""
    held = Held()
    client, share = await open_client(node, held)
    client.session.receive(RPC * 300)
    while share.waiting:
        share.turn()
    assert num_waiting(client) == HIGH + 1
    taken_up = HIGH + 1 - LOW  # the one that is carried out waits no more
    await held.end(taken_up)
    assert num_waiting(client) == LOW - 1
    assert share.waiting == []
    assert client.link.is_paused
    await held.end(1)
    assert num_waiting(client) == LOW - 2
    assert share.waiting == [client.session]
    while share.waiting:
        share.turn()
    assert num_waiting(client) == HIGH + 1


@pytest.mark.parametrize(
    ("step_s", "pauses"),
    [(session_module._TURN_S * 0.8, 3), (session_module._TURN_S * 0.01, 0)],
)
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_worker_pauses_after_its_processor_time(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    concurrency: int,
    step_s: float,
    pauses: int,
) -> None:
    """Counted anew after each pause; while other commands of the client wait."""
    held = Held()
    client, share = await open_client(node, held, concurrency=concurrency)
    clock_s = 100.0

    def thread_time() -> float:
        nonlocal clock_s
        clock_s += step_s
        return clock_s

    monkeypatch.setattr(time, "thread_time", thread_time)
    client.session.receive(b'{"id":5,"publish":{"channel":"a","data":1}}\n' * 10)
    await client.take()
    assert num_waiting(client) == 0
    if concurrency == 1:
        assert share.pauses == pauses
    else:
        assert bool(share.pauses) == bool(pauses)
