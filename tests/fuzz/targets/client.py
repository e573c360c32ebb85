"""Client commands: frames as bytes, and a session that is sent anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import structlog
from google.protobuf.message import Message
from tests.fuzz.target import Target, require, take
from tests.support.clock import MovedClock
from tests.support.realtime import OPEN_CHANNEL, build_context
from tests.support.sessions import (
    TWO_WAY,
    TWO_WAY_PROTOBUF,
    ManualWheel,
    RecordingLink,
    make_token,
)

from tocsin.core import client_codes
from tocsin.core.client_codes import ClientError, Disconnect
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.delta import BadDelta, apply_delta, create_delta
from tocsin.protocol.frames import (
    BadFrame,
    Encoding,
    decode_commands,
    decode_connect_request,
    encode_message,
    read_varint,
    write_varint,
)
from tocsin.protocol.json_text import ForeignData
from tocsin.sessions.session import Session

_PUBLISHED = {
    (value.code, value.reason)
    for value in vars(client_codes).values()
    if isinstance(value, Disconnect)
}
_ERRORS = {
    value.code
    for value in vars(client_codes).values()
    if isinstance(value, ClientError)
}
_TOKEN = make_token(sub="u", channels=["a"])
_SIGNATURE = _TOKEN.rpartition(".")[2]

COMMANDS: tuple[dict[str, object], ...] = (
    {"connect": {"token": _TOKEN, "data": {"a": [1]}, "subs": {"a": {}}}},
    {"connect": {}},
    {"subscribe": {"channel": "a", "recoverable": True, "join_leave": True}},
    {"subscribe": {"channel": "a", "recover": True, "epoch": "_", "offset": 3}},
    {
        "subscribe": {
            "channel": "b",
            "delta": "fossil",
            "tf": {"op": "and", "nodes": []},
        }
    },
    {"unsubscribe": {"channel": "a"}},
    {"publish": {"channel": "a", "data": {"text": "\u00fc\ud83d\ude00"}}},
    {"history": {"channel": "a", "limit": -1, "since": {"offset": 1}, "reverse": True}},
    {"presence": {"channel": "a"}},
    {"presence_stats": {"channel": "a"}},
    {"rpc": {"method": "m", "data": [1.5, None]}},
    {"send": {"data": "x"}},
    {"refresh": {"token": _TOKEN}},
    {"sub_refresh": {"channel": "a", "token": "x.y.z"}},
    {"ping": {}},
)
_WORDS = (
    *(f'"{name}":'.encode() for one in COMMANDS for name in one),
    *(b'"channel":', b'"data":', b'"id":', b'"token":', b'"offset":', b'"tf":'),
    *(b'{"id":1,', b"\n", b"{}", b"null", b"\\ud800", b"1e999", b"\\u0000", b"\xc0"),
)


def run_frames(data: bytes) -> None:
    """Commands or one error; what was read is written and read as the same."""
    choice, frame = take(data)
    encoding = Encoding.PROTOBUF if choice & 1 else Encoding.JSON
    for message in (*_commands(encoding, frame), *_request(encoding, frame)):
        try:
            written = encode_message(encoding, message)
        except ForeignData:
            continue  # bytes of a Protobuf frame that are no JSON
        kind = type(message)
        if encoding is Encoding.PROTOBUF:
            require(kind.FromString(written) == message, "another command comes back")
        elif written != b"{}":
            _compare_json(message, written)


def _compare_json(message: Message, written: bytes) -> None:
    if isinstance(message, pb.Command):
        again = list(decode_commands(Encoding.JSON, written))
        # Embedded JSON loses line breaks, so the second writing is compared.
        require(len(again) == 1, "one command comes back as several")
        rewritten = encode_message(Encoding.JSON, again[0])
        require(rewritten == written, "another command comes back")


def _commands(encoding: Encoding, frame: bytes) -> list[Message]:
    found: list[Message] = []
    try:
        for command in decode_commands(encoding, frame):
            found.append(command)  # noqa: PERF402 - those before an error count
    except BadFrame:
        pass
    return found


def _request(encoding: Encoding, frame: bytes) -> list[Message]:
    try:
        return [decode_connect_request(encoding, frame)]
    except BadFrame:
        return []


def frame_examples() -> Iterable[bytes]:
    """Each command in both encodings, and several in a frame."""
    lines = [json.dumps({"id": n, **c}) for n, c in enumerate(COMMANDS, 1)]
    for line in lines:
        yield b"\0" + line.encode()
    yield b"\0" + "\n".join(lines[:4]).encode()
    yield b"\0" + (lines[0] + lines[1]).encode()
    for encoded in _protobuf_frames():
        yield b"\1" + encoded


def _protobuf_frames() -> Iterable[bytes]:
    for line in COMMANDS:
        frame = json.dumps({"id": 1, **line}).encode()
        for command in decode_commands(Encoding.JSON, frame):
            encoded = command.SerializeToString()
            yield write_varint(len(encoded)) + encoded


FRAMES = Target(
    "client-frames",
    run_frames,
    frame_examples,
    words=_WORDS,
    cpu_ms=150,
    heap_kb=8_192,
)


# --- a session ---------------------------------------------------------------


def run_session(data: bytes) -> None:
    """It answers in the protocol's own words, or ends with a published code."""
    choice, frames = take(data)
    # A loop for each input: nothing of one may wait for another.
    with structlog.testing.capture_logs() as lines:
        asyncio.run(_talk(frames, protobuf=bool(choice & 1), connects=bool(choice & 2)))
    for line in lines:
        require(line["log_level"] not in {"error", "warning"}, f"an alarm: {line}")
        require(_SIGNATURE not in str(line), "a token in the log")


async def _talk(data: bytes, *, protobuf: bool, connects: bool) -> None:
    clock = MovedClock()
    wheel = ManualWheel(clock)
    context = build_context(options=OPEN_CHANNEL, clock=clock, wheel=wheel)
    link = RecordingLink()
    traits = TWO_WAY_PROTOBUF if protobuf else TWO_WAY
    session = Session(context, link, traits, header_user="")
    session.open()
    if connects and not protobuf:
        session.receive(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"a"}}')
    for frame in data.split(b"\xff\xff") if protobuf else cut_lines(data):
        session.receive(frame)
        await context.hub.settle()
    if link.closed is not None:
        reason = link.closed.reason.partition(": ")[0]
        require((link.closed.code, reason) in _PUBLISHED, f"closed with {link.closed}")
    for reply in _replies(b"".join(link.written), protobuf=protobuf):
        if reply.HasField("error"):
            require(reply.error.code in _ERRORS, f"error {reply.error.code}")
            require(reply.error.code != 100, "an internal error")
            require(reply.id, "an error without an id")
    session.lost()
    await context.hub.settle()
    require(context.hub.num_clients == 0, "a connection stays after its end")
    require(context.hub.subscribers() == {}, "a subscription stays after its end")


def cut_lines(data: bytes) -> list[bytes]:
    """The frames of an input: lines, some of them together."""
    lines = data.split(b"\n")
    return [b"\n".join(lines[:2]), *lines[2:40], b"\n".join(lines[40:])]


def _replies(data: bytes, *, protobuf: bool) -> Iterable[pb.Reply]:
    if not protobuf:
        for line in data.split(b"\n"):
            reply = json.loads(line or b"{}")
            error = reply.get("error") or {}
            yield pb.Reply(
                id=reply.get("id", 0),
                error=pb.Error(code=error["code"]) if error else None,
            )
        return
    at = 0
    while at < len(data):
        size, at = read_varint(data, at)
        yield pb.Reply.FromString(data[at : at + size])
        at += size


def session_examples() -> Iterable[bytes]:
    """Conversations of several frames."""
    lines = [json.dumps({"id": n, **c}) for n, c in enumerate(COMMANDS, 1)]
    yield b"\0" + "\n".join(lines).encode()
    yield b"\2" + "\n".join(lines[2:]).encode()
    yield b"\2" + "\n".join(reversed(lines)).encode()
    for line in lines:
        yield b"\2" + line.encode()
    frames = list(_protobuf_frames())
    yield b"\1" + b"\xff\xff".join(frames)
    yield b"\1" + frames[0] + frames[2] + b"\xff\xff" + frames[3]


SESSION = Target(
    "client-session",
    run_session,
    session_examples,
    words=_WORDS,
    longest=2_048,
    cpu_ms=400,
    heap_kb=16_384,
)


# --- deltas ------------------------------------------------------------------


def run_delta(data: bytes) -> None:
    """A delta makes the new payload; bytes that are none are refused."""
    size, rest = take(data)
    old, new = rest[:size], rest[size:]
    require(apply_delta(old, create_delta(old, new)) == new, "another payload")
    try:
        made = apply_delta(old, new)
    except BadDelta:
        return
    require(len(made) <= 64 * (len(new) + 1) * (len(old) + 1), "far too long a payload")


def delta_examples() -> Iterable[bytes]:
    """Pairs of payloads, and a pair of payload and delta."""
    old = b'{"items":[1,2,3],"text":"something long that stays the same"}'
    new = old.replace(b"2", b"22")
    yield bytes((len(old),)) + old + new
    yield bytes((len(old),)) + old + create_delta(old, new)


DELTA = Target("client-delta", run_delta, delta_examples)
