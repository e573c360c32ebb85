"""The control bus over Redis pub/sub: several nodes act as one.

Part of the broker room; it runs no command itself, the listener does. Commands are
best effort, as the port says: a node that was away missed them, and finds its
positions checked when it is back.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import structlog
from redis.asyncio import Redis

from tocsin.broker.control_messages import (
    command_fields,
    encode_message,
    pack,
    parse_command,
    parse_message,
    parse_node,
    unpack,
)
from tocsin.broker.redis_shard import RedisShard
from tocsin.core.channel import NodeInfo
from tocsin.core.control import ControlCommand
from tocsin.core.errors import ApiError, InternalError
from tocsin.core.ports.channels import ControlListener

PING_INTERVAL_S = 3.0
SILENCE_S = 7.0
"""After this long without a word a node is gone."""

_log = structlog.get_logger(__name__)


class RedisControlBus:
    """`ControlBus` over one Redis server; the client belongs to its opener."""

    def __init__(
        self,
        client: Redis,
        *,
        node: str,
        prefix: str = "centrifugo",
        ping_interval_s: float = PING_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._all = f"{prefix}.control"
        self._own = f"{prefix}.node."
        self._interval_s = ping_interval_s
        # Silence shrinks with a faster ping.
        self._silence_s = SILENCE_S * ping_interval_s / PING_INTERVAL_S
        self._clock = clock
        self._listener: ControlListener | None = None
        self._shard = RedisShard(client, on_message=self._take, on_gap=self._ping_soon)
        self._nodes: dict[str, tuple[float, NodeInfo]] = {}
        self._surveys: dict[str, _Survey] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self, listener: ControlListener) -> None:
        """See the port."""
        self._listener = listener

    async def start(self) -> None:
        """See the port."""
        await self._shard.start([self._all, self._own + self._node])
        # After the subscription: those who answer "hello" must be heard.
        await self._publish(self._all, "hello", **self._describe())
        self._spawn(self._ping_for_ever())

    async def close(self) -> None:
        """See the port."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._publish(self._all, "bye")
        except ApiError:
            _log.info("other nodes were not told that this one left")
        await self._shard.close()

    async def broadcast(self, command: ControlCommand) -> None:
        """See the port."""
        self._listening().run(command)
        await self._publish(self._all, "command", **command_fields(command))

    async def survey(
        self, op: str, params: bytes, *, timeout_s: float = 10.0
    ) -> Sequence[bytes]:
        """See the port."""
        answers = [self._listening().answer_survey(op, params)]
        others = [node.uid for node in self._living() if node.uid != self._node]
        if not others:
            return answers
        id = uuid.uuid4().hex
        # Before the question goes out, so that no answer comes too early.
        survey = self._surveys[id] = _Survey(others)
        try:
            fields = {"id": id, "op": op, "params": pack(params)}
            await self._publish(self._all, "survey", **fields)
            async with asyncio.timeout(timeout_s):
                await survey.complete.wait()
        except TimeoutError as error:
            missing = ", ".join(sorted(survey.missing))
            raise InternalError(f"no answer from node {missing}") from error
        finally:
            del self._surveys[id]
        return answers + survey.answers

    async def send_to_node(self, node: str, op: str, params: bytes) -> bool:
        """See the port."""
        if node == self._node:
            self._listening().answer_survey(op, params)
            return True
        if node not in {info.uid for info in self._living()}:
            return False
        fields = {"op": op, "params": pack(params)}
        await self._publish(self._own + node, "note", **fields)
        return True

    async def fetch_nodes(self) -> Sequence[NodeInfo]:
        """See the port."""
        others = [info for info in self._living() if info.uid != self._node]
        return [self._listening().describe(), *others]

    def _listening(self) -> ControlListener:
        if self._listener is None:
            raise RuntimeError("listen() comes before any use of the control bus")
        return self._listener

    def _living(self) -> list[NodeInfo]:
        oldest = self._clock() - self._silence_s
        for uid in [u for u, (seen, _) in self._nodes.items() if seen < oldest]:
            del self._nodes[uid]
        return [info for _, info in self._nodes.values()]

    def _describe(self) -> dict[str, Any]:
        return {"info": asdict(self._listening().describe())}

    async def _publish(self, channel: str, kind: str, **fields: Any) -> None:
        message = encode_message(kind, self._node, **fields)
        await self._shard.run("PUBLISH", channel, message)

    async def _ping_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._ping()

    async def _ping(self) -> None:
        try:
            await self._publish(self._all, "node", **self._describe())
        except ApiError:
            _log.warning("other nodes do not hear of this one: Redis is away")

    def _ping_soon(self) -> None:
        self._spawn(self._ping())

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, _channel: str, data: bytes) -> None:
        try:
            message = parse_message(data)
            # A node hears its own messages too, and has done its part already.
            if message["node"] != self._node:
                self._handle(message)
        except (ValueError, KeyError, TypeError):
            _log.warning("a control message could not be read and was left out")
        except Exception:  # noqa: BLE001 - the border of a message: the next is heard
            _log.exception("a control message was not carried out")

    def _handle(self, message: dict[str, Any]) -> None:
        node = message["node"]
        match message["kind"]:
            case "node" | "hello":
                self._nodes[node] = (self._clock(), parse_node(message["info"]))
                if message["kind"] == "hello":
                    # A newcomer learns of us now, not with the next ping.
                    self._ping_soon()
            # Surveys must not wait for a node that has left.
            case "bye":
                self._nodes.pop(node, None)
                for open_survey in self._surveys.values():
                    open_survey.leave(node)
            case "command":
                if (command := parse_command(message)) is not None:
                    self._listening().run(command)
            case "survey":
                params = unpack(message["params"])
                answer = self._listening().answer_survey(message["op"], params)
                self._spawn(self._answer(node, message["id"], answer))
            case "answer":
                if (survey := self._surveys.get(message["id"])) is not None:
                    survey.add(node, unpack(message["answer"]))
            case "note":
                self._listening().answer_survey(
                    message["op"], unpack(message["params"])
                )

    async def _answer(self, node: str, id: str, answer: bytes) -> None:
        try:
            await self._publish(self._own + node, "answer", id=id, answer=pack(answer))
        except ApiError:
            _log.warning("a survey of another node was not answered", asked_by=node)


class _Survey:
    """Who was asked, and what came back."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.missing = set(nodes)
        self.answers: list[bytes] = []
        self.complete = asyncio.Event()

    def add(self, node: str, answer: bytes) -> None:
        """One answer; a second from the same node does not count."""
        if node in self.missing:
            self.answers.append(answer)
            self.leave(node)

    def leave(self, node: str) -> None:
        """Wait for this node no more."""
        self.missing.discard(node)
        if not self.missing:
            self.complete.set()
