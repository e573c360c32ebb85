"""A client of the session state machine without sockets, and time that stands still."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

from tests.support.clock import MovedClock
from tests.support.realtime import SECRET

from tocsin.core.client_codes import Disconnect
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import Encoding, WireForm, read_varint, write_varint
from tocsin.sessions.context import Context
from tocsin.sessions.link import Traits
from tocsin.sessions.session import Session
from tocsin.sessions.timers import Timed
from tocsin.telemetry.client_metrics import ClientMetrics

LINES = WireForm(
    "lines", Encoding.JSON, lambda message: message + b"\n", transport="websocket"
)
UNI_LINES = WireForm(
    "one-way lines", Encoding.JSON, lambda message: message + b"\n", unidirectional=True
)
DELIMITED = WireForm(
    "delimited", Encoding.PROTOBUF, lambda message: write_varint(len(message)) + message
)
TWO_WAY = Traits("websocket", LINES, ends_after_refusal=True)
TWO_WAY_PROTOBUF = Traits("websocket", DELIMITED, ends_after_refusal=True)
ONE_WAY = Traits("uni_sse", UNI_LINES, pushes_disconnect=True)
EMULATED = Traits("http_stream", LINES, emulated=True, pushes_disconnect=True)


class ManualWheel:
    """`TimerWheel` for tests: time moves when the test says so, the clock with it."""

    def __init__(self, clock: MovedClock) -> None:
        self._clock = clock
        self._now_s = 1000.0
        self._entries: dict[Timed, float] = {}

    def now(self) -> float:
        return self._now_s

    def put(self, entry: Timed, when_s: float) -> None:
        self._entries[entry] = when_s

    def remove(self, entry: Timed) -> None:
        self._entries.pop(entry, None)

    def move_s(self, by_s: float) -> None:
        """Let time pass and call everything that falls due, in order."""
        end_s = self._now_s + by_s
        while due := [each for each, at in self._entries.items() if at <= end_s]:
            entry = min(due, key=lambda each: self._entries[each])
            at = max(self._entries.pop(entry), self._now_s)
            self._clock.move_ms(round((at - self._now_s) * 1000))
            self._now_s = at
            entry.on_timer(at)
        self._clock.move_ms(round((end_s - self._now_s) * 1000))
        self._now_s = end_s


class RecordingLink:
    """`Link` that keeps what goes down."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed: Disconnect | None = None
        self.ended = False
        self.pings = 0
        self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def ping(self) -> None:
        self.pings += 1

    def close(self, disconnect: Disconnect) -> None:
        self.closed = disconnect

    def end(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class SessionClient:
    """Speaks JSON (or Protobuf, by `traits`) to a session; messages as dicts."""

    def __init__(
        self, context: Context, traits: Traits = TWO_WAY, *, header_user: str = ""
    ) -> None:
        self.context = context
        self.link = RecordingLink()
        self.session = Session(context, self.link, traits, header_user=header_user)
        self.session.open()
        self._id = 0

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason, once it is closed."""
        end = self.link.closed
        return None if end is None else (end.code, end.reason)

    async def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Send bytes as they are; what came back since the last call."""
        self.session.receive(data)
        return await self.take()

    async def take(self) -> list[dict[str, Any]]:
        """What has come since the last call."""
        await self.context.hub.settle()
        data = b"".join(self.link.written)
        self.link.written.clear()
        if self.session.traits.form.encoding is Encoding.PROTOBUF:
            return _parse_delimited(data)
        return [json.loads(line) for line in data.split(b"\n") if line]

    async def ask(self, **request: Any) -> list[dict[str, Any]]:
        """Send one command; everything that came."""
        self._id += 1
        return await self.feed(json.dumps({"id": self._id, **request}).encode())

    async def reply(self, **request: Any) -> dict[str, Any]:
        """Send one command; its reply without the id."""
        messages = await self.ask(**request)
        found = [each for each in messages if each.get("id") == self._id]
        assert len(found) == 1, (messages, self.closed)
        reply = dict(found[0])
        del reply["id"]
        return reply

    async def connect(self, **request: Any) -> dict[str, Any]:
        """Connect and return the result."""
        reply = await self.reply(connect=request)
        result: dict[str, Any] = reply["connect"]
        return result

    async def subscribe(self, channel: str, **request: Any) -> dict[str, Any]:
        """Subscribe and return the result."""
        reply = await self.reply(subscribe={"channel": channel, **request})
        result: dict[str, Any] = reply["subscribe"]
        return result

    async def pushes(self) -> list[dict[str, Any]]:
        """The pushes that came since the last call."""
        return [each["push"] for each in await self.take() if "push" in each]

    async def publications(self) -> list[Any]:
        """The data of the publications that came since the last call."""
        return [push["pub"]["data"] for push in await self.pushes() if "pub" in push]


def _parse_delimited(data: bytes) -> list[dict[str, Any]]:
    from google.protobuf.json_format import MessageToDict

    messages, at = [], 0
    while at < len(data):
        size, at = read_varint(data, at)
        reply = pb.Reply.FromString(data[at : at + size])
        messages.append(MessageToDict(reply, preserving_proto_field_name=True))
        at += size
    return messages


def make_token(secret: str = SECRET, **claims: Any) -> str:
    """A token signed with HS256."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(b'{"alg":"HS256","typ":"JWT"}')
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    signature = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{part(signature)}"


async def run_until(condition: Any, *, timeout_s: float = 5.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.005)


def exposed(meter: ClientMetrics) -> dict[str, float]:
    """Every sample of the client metrics as `name{label=value,…}`."""
    found = {}
    for series in meter.series:
        for suffix, names, values, value in series.samples():
            pairs = ",".join(
                f"{name}={text}" for name, text in zip(names, values, strict=True)
            )
            found[f"{series.name}{suffix}{{{pairs}}}"] = value
    return found
