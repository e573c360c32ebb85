"""Every sentence of the `ControlBus` port, on every bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.brokers import Listening, empty_engine, running_bus, until

from tocsin.core.channel import StreamPosition
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import (
    ControlCommand,
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.core.errors import InternalError
from tocsin.core.ports.channels import ControlBus

COMMANDS: list[ControlCommand] = [
    SubscribeCommand(
        Target("anna", client="c", session="s"),
        "ch",
        info=b"\x00\xff",
        data=b'{"a":1}',
        expire_at=9,
        recover_since=StreamPosition(3, "e"),
        overrides={"presence": False},
    ),
    UnsubscribeCommand(Target(all_users=True), "ch"),
    DisconnectCommand(
        Target(label_filter={"op": "", "key": "k"}), Disconnect(4001, "go"), ("c1",)
    ),
    RefreshCommand(Target("anna"), expired=True, expire_at=5, info=b"i"),
]


@pytest.fixture
def here() -> Listening:
    return Listening("here")


@pytest.fixture(params=["memory", "redis", "redis-cluster"])
async def bus(
    request: pytest.FixtureRequest, here: Listening
) -> AsyncIterator[ControlBus]:
    """The started bus of one node."""
    async with running_bus(empty_engine(request, request.param), here) as bus:
        yield bus


@pytest.fixture(params=["redis", "redis-cluster"])
def shared(request: pytest.FixtureRequest) -> list[str]:
    """A Redis for several nodes."""
    return empty_engine(request, request.param)


@pytest.fixture
async def there(shared: list[str]) -> AsyncIterator[Listening]:
    """A second node on the same Redis."""
    listening = Listening("there")
    async with running_bus(shared, listening):
        yield listening


async def test_a_command_runs_here_at_once(bus: ControlBus, here: Listening) -> None:
    """Once, and not again when the bus brings it back."""
    for command in COMMANDS:
        await bus.broadcast(command)
    assert here.commands == COMMANDS


async def test_a_survey_asks_this_node(bus: ControlBus) -> None:
    """Alone, the answer is one."""
    assert list(await bus.survey("op", b"\x00p")) == [b"here:\x00p"]


async def test_this_node_is_known(bus: ControlBus, here: Listening) -> None:
    """As it describes itself."""
    assert list(await bus.fetch_nodes()) == [here.describe()]


async def test_a_note_reaches_its_node_only(bus: ControlBus, here: Listening) -> None:
    """An unknown node is told as such."""
    assert await bus.send_to_node("here", "op", b"x")
    assert here.asked == [("op", b"x")]
    assert not await bus.send_to_node("nowhere", "op", b"x")


async def test_commands_reach_other_nodes(
    shared: list[str], there: Listening, here: Listening
) -> None:
    """Each with every field as it was given."""
    async with running_bus(shared, here) as bus:
        for command in COMMANDS:
            await bus.broadcast(command)
        await until(lambda: len(there.commands) == len(COMMANDS))
    assert there.commands == COMMANDS
    assert here.commands == COMMANDS


class Failing(Listening):
    """A node with a bug: it fails on the first command and on each question."""

    def run(self, command: ControlCommand) -> None:
        super().run(command)
        if len(self.commands) == 1:
            raise OverflowError("a bug")

    def answer_survey(self, op: str, params: bytes) -> bytes:
        super().answer_survey(op, params)
        raise RuntimeError("a bug")


async def test_a_node_that_fails_on_a_command_hears_the_next(
    shared: list[str], here: Listening
) -> None:
    """What goes wrong with one message ends with it; a question has no answer."""
    failing = Failing("there")
    async with running_bus(shared, failing), running_bus(shared, here) as bus:
        await know(bus, "here", "there")
        for command in COMMANDS:
            await bus.broadcast(command)
        await until(lambda: len(failing.commands) == len(COMMANDS))
        with pytest.raises(InternalError, match="there"):
            await bus.survey("op", b"p", timeout_s=0.2)
        assert await bus.send_to_node("there", "note", b"n")
        await until(lambda: ("note", b"n") in failing.asked)
        await bus.broadcast(COMMANDS[0])
        await until(lambda: len(failing.commands) == len(COMMANDS) + 1)


async def know(bus: ControlBus, *uids: str) -> None:
    """Wait until the bus knows exactly these nodes."""
    async with asyncio.timeout(10):
        while {node.uid for node in await bus.fetch_nodes()} != set(uids):  # noqa: ASYNC110 - the bus has no event for it
            await asyncio.sleep(0.01)


async def test_nodes_learn_of_each_other_at_once(
    shared: list[str], there: Listening, here: Listening
) -> None:
    """A newcomer is answered, a leaver forgotten, a survey asks all."""
    async with running_bus(shared, here) as bus:
        await know(bus, "here", "there")
        assert sorted(await bus.survey("op", b"p")) == [b"here:p", b"there:p"]
        assert await bus.send_to_node("there", "note", b"n")
        await until(lambda: ("note", b"n") in there.asked)
        async with running_bus(shared, Listening("third")):
            await know(bus, "here", "there", "third")
        await know(bus, "here", "there")


async def test_a_silent_node_fails_a_survey(shared: list[str], here: Listening) -> None:
    """The error names the node that did not answer."""
    silent = Listening("silent")

    def refuse(op: str, params: bytes) -> bytes:
        raise ValueError

    silent.answer_survey = refuse  # type: ignore[method-assign]
    async with (
        running_bus(shared, here) as bus,
        running_bus(shared, silent),
    ):
        await know(bus, "here", "silent")
        with pytest.raises(InternalError, match="silent"):
            await bus.survey("op", b"", timeout_s=0.3)
