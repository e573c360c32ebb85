"""What queue and log keep as bytes, and JSON at the doors of back ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

import orjson
from google.protobuf.message import Message
from tests.fuzz.target import Target, require, take

from tocsin.core.device import DeviceFilter
from tocsin.core.push import (
    Body,
    Expand,
    ExpandJob,
    Payload,
    RateRule,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.rates import RateLimit
from tocsin.protocol import api_pb2
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_accepted,
    encode_job,
    encode_letter,
    encode_payload,
    parse_accepted,
    parse_dead_job,
    parse_job,
    parse_letter,
    parse_letter_head,
    parse_payload,
    refresh,
    without_done,
)
from tocsin.protocol.json_codec import FILES, SERVER
from tocsin.protocol.json_text import (
    ForeignData,
    JsonFault,
    embed_compact,
    embed_in_line,
    is_json,
    split_members,
    split_object,
    split_object_with_halves,
)


def run_job(data: bytes) -> None:
    """Jobs or one error; a job that was read comes back as itself."""
    choice, rest = take(data)
    try:
        job = parse_job(rest)
    except Undecodable as error:
        require(len(str(error)) < 400, "an error as long as its input")
    else:
        require(parse_job(encode_job(job)) == job, "another job comes back")
        letter = encode_letter(refresh(job), "reason", 1)
        require(parse_dead_job(letter) == refresh(job), "another job in its letter")
    done = bytes((choice,)) * 3
    without_done(rest, done)
    parse_dead_job(rest)
    for parse in (parse_letter, parse_letter_head):
        parse(rest, id="1", queue="send:fcm", push_id="p", payload=rest)
    _check_accepted(rest)
    try:
        payload = parse_payload(rest)
    except Undecodable:
        return
    kept = encode_payload(payload)
    require(parse_payload(kept) == payload, "another payload")
    head = parse_letter_head(b"", id="1", queue="", push_id="p", payload=kept)
    require(head.uid == payload.uid, "another uid at the head of a payload")


def _check_accepted(data: bytes) -> None:
    try:
        payload, jobs = parse_accepted(data)
    except Undecodable:
        return
    again = parse_accepted(encode_accepted(payload, jobs))
    require(again == (payload, jobs), "other work of a send comes back")


def job_examples() -> Iterable[bytes]:
    """A job of each kind, its letter, and payloads."""
    send = SendJob(
        id="1",
        push_id="p",
        provider="fcm",
        recipient_type=RecipientType.FILTER,
        accepted_at_ms=1,
        work=Send(
            TargetKind.TOKEN, Recipients(("t", "u"), ("d", "e"), ("android", "ios"))
        ),
    )
    expand = ExpandJob(
        id="2",
        push_id="p",
        provider="apns",
        recipient_type=RecipientType.FILTER,
        accepted_at_ms=1,
        work=Expand(DeviceFilter(topics=("news",), tags={"a": "b"}), "c", 3),
    )
    payload = Payload(
        push_id="p",
        uid="u",
        analytics_uid="a",
        bodies={"fcm": Body(b'{"a":1}', {"h": "v"})},
        rate=RateRule((RateLimit(1, 1000),), "k", True),
        window=TimeWindow(0, 3600, False),
        templating=Templating({"de": {"t": "x"}}, True),
    )
    for job in (send, expand):
        yield b"\0" + encode_job(job)
        yield b"\1" + encode_letter(job, "why", 1)
    yield b"\0" + encode_payload(payload)
    yield b"\0" + encode_accepted(payload, [send, expand])


JOB = Target("queue-message", run_job, job_examples, words=(b"\xa2\x01", b"\xaa\x01"))


# --- JSON --------------------------------------------------------------------

_KINDS: tuple[type[Message], ...] = (
    api_pb2.SendPushNotificationRequest,
    api_pb2.PublishRequest,
    api_pb2.BroadcastRequest,
    api_pb2.DeviceRegisterRequest,
    api_pb2.DeviceListRequest,
    api_pb2.BatchRequest,
    api_pb2.HistoryRequest,
)


def run_requests(data: bytes) -> None:
    """A message or one error; what was read is written and read as the same."""
    choice, text = take(data)
    kind = _KINDS[choice % len(_KINDS)]
    for codec in (SERVER, FILES):
        try:
            message = codec.read(kind, text)
        except JsonFault as fault:
            require(len(fault.reason) < 400, "an error as long as its input")
            continue
        try:
            written = codec.write(message)
        except ForeignData:
            continue
        require(is_json(written), "no JSON is written")
        again = codec.write(codec.read(kind, written))
        require(again == written, "another message comes back")


def request_examples() -> Iterable[bytes]:
    """A request of each kind."""
    for number, request in enumerate(
        (
            {
                "recipient": {"filter": {"topics": ["news"], "tags": {"a": "b"}}},
                "notification": {"fcm": {"message": {"a": [1, "\u00fc"]}}},
                "rate_limit": {"key": "k"},
            },
            {"channel": "a", "data": {"a": 1.0}, "tags": {"k": "v"}, "version": 3},
            {"channels": ["a", "b"], "data": "x"},
            {"provider": "fcm", "token": "t", "topics": ["x"], "meta": {"k": "v"}},
            {"filter": {"users": ["u"]}, "limit": 3, "include_total_count": True},
            {"commands": [{"publish": {"channel": "a", "data": {}}}], "parallel": True},
            {"channel": "a", "limit": -1, "since": {"offset": 5, "epoch": "e"}},
        )
    ):
        yield bytes((number,)) + json.dumps(request).encode()


REQUESTS = Target(
    "request-json",
    run_requests,
    request_examples,
    words=(b'"data":', b"null", b"\\ud800", b"1e999", b'"DATA":', b" ", b"\xc0", b"<"),
    heap_kb=8_192,
)


def run_text(data: bytes) -> None:
    """The ways to read and embed JSON agree with each other."""
    embeds: tuple[Callable[[bytes], bytes], ...] = (embed_compact, embed_in_line)
    for embed in embeds:
        try:
            kept = embed(data)
        except ForeignData:
            require(not is_json(data), "JSON is refused")
            continue
        require(is_json(data) and is_json(kept), "something else than JSON is embedded")
        require(b"\n" not in kept, "a line break in a frame")
        require(_value(kept) == _value(data), "another value is embedded")
    strict = _split(lambda: dict(split_object(data)))
    halves = _split(lambda: dict(split_object_with_halves(data)))
    slow = _split(lambda: split_members(data.decode()))
    if strict is not None:
        require(halves == strict, "an object is split in two ways")
        if is_json(data):
            require(slow is not None and len(slow) == len(strict), "members are lost")


def _value(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None  # beyond what the fast parser reads, such as half characters


def _split(split: Callable[[], Mapping[str, object]]) -> dict[str, bytes] | None:
    try:
        members = split()
    except ValueError:
        return None
    return {
        name: part.encode() if isinstance(part, str) else bytes(memoryview(part))  # type: ignore[arg-type] # a msgspec.Raw
        for name, part in members.items()
    }


def text_examples() -> Iterable[bytes]:
    """JSON with all that it may have."""
    yield b'{"a": [1, -2.5e3, "x\\n\\u00fc\\ud83d\\ude00"],\n "b" : {"c": null}}'
    yield b'"\\ud800"'
    yield b" [ 1 , 2 ] "
    yield b'{"a":1,"a":2,"":3}'


TEXT = Target(
    "json-text",
    run_text,
    text_examples,
    words=(
        b"\\ud800",
        b"\\u0000",
        b"1e999",
        b"-0",
        b"NaN",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
    ),
    cpu_ms=100,
)
