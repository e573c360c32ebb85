"""The official JavaScript SDK in a node process, driven from tests in Python."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.npm_packages import FOLDER

DEADLINE_S = 30.0
_QUICK = {"minReconnectDelay": 10, "maxReconnectDelay": 60}
_QUICKLY = {"minResubscribeDelay": 10, "maxResubscribeDelay": 60}


class JsError(Exception):
    """What the SDK threw."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Form:
    """A transport and a protocol as the SDK names them."""

    transport: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.transport}-{self.protocol}"

    def endpoint(self, port: int) -> str:
        scheme = "ws" if self.transport == "websocket" else "http"
        return f"{scheme}://127.0.0.1:{port}/connection/{self.transport}"


FORMS = (
    Form("websocket", "json"),
    Form("websocket", "protobuf"),
    Form("http_stream", "json"),
    Form("http_stream", "protobuf"),
    Form("sse", "json"),
)


@contextmanager
def run_driver() -> Iterator[int]:
    """The port of a node process; it ends with the block, or with this process."""
    with subprocess.Popen(
        ["node", "driver.mjs"],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.strip().isdecimal(), "the driver did not start; see its errors"
        try:
            yield int(line)
        finally:
            child.kill()


class Handle:
    """A client or a subscription: what it told so far, and its methods."""

    def __init__(self, session: JsSession, name: str) -> None:
        self.session = session
        self.name = name
        self.seen: list[tuple[str, Any]] = []
        self.changed = asyncio.Event()

    def of(self, event: str) -> list[Any]:
        return [context for seen, context in self.seen if seen == event]

    def codes(self, event: str) -> list[int]:
        return [context["code"] for context in self.of(event)]

    async def wait(self, event: str, number: int = 1) -> list[Any]:
        """The contexts of an event, once there are `number` of them."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while len(self.of(event)) < number:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {number} x {event} in {self.seen}") from None
        return self.of(event)

    async def data(self, number: int) -> list[Any]:
        """The payloads of all publications, once there are `number` of them."""
        return [each["data"] for each in await self.wait("publication", number)]

    async def call(self, method: str, *args: Any, **data: Any) -> Any:
        """Call a method; `data=` is its last argument, encoded as the protocol asks."""
        return await self.session.ask(
            "call", of=self.name, method=method, args=args, **data
        )

    async def state(self) -> str:
        state: str = await self.session.ask("state", of=self.name)
        return state


class Client(Handle):
    """A client of the SDK."""

    async def subscription(
        self, channel: str, *, tokens: Sequence[str] = (), **options: Any
    ) -> Handle:
        """Begin to subscribe; `tokens` are what getToken gives, one after another."""
        made = Handle(self.session, f"{self.name}/{next(self.session.numbers)}")
        self.session.handles[made.name] = made
        await self.session.ask(
            "subscription",
            of=made.name,
            client=self.name,
            channel=channel,
            tokens=list(tokens) or None,
            options={**_QUICKLY, **options},
        )
        await made.call("subscribe")
        return made

    async def subscribed(self, channel: str, **options: Any) -> Handle:
        """A subscription that has come about."""
        made = await self.subscription(channel, **options)
        await made.wait("subscribed")
        return made


class JsSession:
    """One test's clients."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.numbers = itertools.count(1)
        self.handles: dict[str, Handle] = {}

    async def client(
        self,
        form: Form,
        port: int,
        *,
        tokens: Sequence[str] = (),
        others: Sequence[Form] = (),
        **options: Any,
    ) -> Client:
        """Begin to connect; `tokens` are what getToken gives, one after another.

        `others` are transports to fall back to.
        """
        made = Client(self, str(next(self.numbers)))
        self.handles[made.name] = made
        await self.ask(
            "client",
            of=made.name,
            protocol=form.protocol,
            endpoints=[
                {"transport": each.transport, "endpoint": each.endpoint(port)}
                for each in (form, *others)
            ],
            tokens=list(tokens) or None,
            options={
                **_QUICK,
                "emulationEndpoint": f"http://127.0.0.1:{port}/emulation",
                **options,
            },
        )
        await made.call("connect")
        return made

    async def connected(self, form: Form, port: int, **options: Any) -> Client:
        """A client that is connected."""
        made = await self.client(form, port, **options)
        await made.wait("connected")
        return made

    async def ask(self, does: str, **request: Any) -> Any:
        number = next(self.numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        line = json.dumps({"id": number, "does": does, **request})
        self._writer.write(line.encode() + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            return await answer

    async def read(self) -> None:
        """Take answers and events until the driver ends."""
        while line := await self._reader.readline():
            self._take(json.loads(line))

    def _take(self, message: Mapping[str, Any]) -> None:
        if "of" in message:
            handle = self.handles[message["of"]]
            handle.seen.append((message["event"], message["context"]))
            handle.changed.set()
            return
        answer = self._answers.pop(message["id"])
        if error := message.get("error"):
            answer.set_exception(JsError(error["code"], error["message"]))
        else:
            answer.set_result(message["result"])


@asynccontextmanager
async def js_session(driver_port: int) -> AsyncIterator[JsSession]:
    """Clients that end with the block."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", driver_port, limit=2**24
    )
    session = JsSession(reader, writer)
    reading = asyncio.create_task(session.read())
    try:
        yield session
    finally:
        writer.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
