"""API room: several commands in one call, for gRPC and HTTP alike.

Each command is run as if it had come alone; an error of one does not affect others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tocsin.api.call import Call, Command, CommandRunner
from tocsin.api.errors import fill_error
from tocsin.api.methods.table import COMMANDS
from tocsin.core.errors import ApiError, BadRequest, InternalError, NotFound
from tocsin.protocol import api_pb2
from tocsin.protocol.json_codec import SERVER
from tocsin.protocol.json_text import (
    WHITE,
    ForeignData,
    JsonFault,
    check_utf8,
    split_array,
    split_object,
)

PARALLEL = 1024
"""Commands of a parallel batch that run at the same time, at most."""
MAX_COMMANDS = 10_000
"""Commands that a call may have: more would keep other calls waiting too long."""
TURN = 64
"""Commands in a row before other tasks get a turn of the loop."""

_FIRST = (
    *("publish", "broadcast", "subscribe", "unsubscribe", "disconnect"),
    *("history", "history_remove", "presence", "presence_stats", "info", "rpc"),
    *("refresh", "channels"),
)
_ORDER = (*_FIRST, *(name for name in COMMANDS if name not in _FIRST))
"""If a command has several fields, only the first one in this order runs."""


async def run_batch(
    runner: CommandRunner,
    commands: Sequence[api_pb2.Command | None],
    call: Call,
    *,
    parallel: bool,
) -> api_pb2.BatchResponse:
    """Replies in the order of the commands; `None` stands for a null in JSON."""
    started = time.perf_counter()
    numbered = enumerate(commands)  # one for all workers: each takes the next command
    replies: list[Any] = [None] * len(commands)
    if parallel and len(commands) > 1:
        workers = (
            _run_some(runner, numbered, replies, call)
            for _ in range(min(PARALLEL, len(commands)))
        )
        await asyncio.gather(*workers)
    else:
        await _run_some(runner, numbered, replies, call)
    runner.note("batch", call, time.perf_counter() - started, None)
    return api_pb2.BatchResponse(replies=replies)


async def _run_some(
    runner: CommandRunner,
    numbered: Iterator[tuple[int, api_pb2.Command | None]],
    replies: list[Any],
    call: Call,
) -> None:
    """Take commands from the shared iterator until none is left; run one by one."""
    for number, command in numbered:
        reply = api_pb2.Reply()
        error = await _run_one(runner, number, command, reply, call)
        if error is not None:
            reply.Clear()  # a half-filled result must not go out
            fill_error(reply.error, error)
        replies[number] = reply
        if number % TURN == TURN - 1:
            await asyncio.sleep(0)


async def _run_one(
    runner: CommandRunner,
    number: int,
    command: api_pb2.Command | None,
    reply: api_pb2.Reply,
    call: Call,
) -> ApiError | None:
    error: ApiError
    if command is None:
        error = BadRequest(f"commands[{number}]", "must be an object")
    elif (chosen := _choose(command)) is None:
        error = NotFound(f"commands[{number}]: names no method")
    else:
        result = getattr(reply, chosen.name)
        result.SetInParent()
        return await runner.run(chosen, getattr(command, chosen.name), result, call)
    runner.note("batch", call, 0.0, error)
    return error


def _choose(command: api_pb2.Command) -> Command | None:
    fields = command.ListFields()
    if len(fields) == 1:
        return COMMANDS[fields[0][0].name]
    present = {field.name for field, _ in fields}
    return next((COMMANDS[name] for name in _ORDER if name in present), None)


def read_batch(body: bytes) -> tuple[list[api_pb2.Command | None], bool]:
    """Commands and `parallel` of a batch in JSON; raises `JsonFault`.

    Not a `BatchRequest`, because that cannot hold a null among the commands; a null
    gets an error reply in its place.
    """
    check_utf8(body)
    if body.strip(WHITE) == b"null":
        return [], False
    commands: list[api_pb2.Command | None] = []
    parallel = False
    try:
        for name, raw in split_object(body).items():
            text = bytes(raw)
            match name.lower():
                case "commands" if text != b"null":
                    commands = _read_commands(text)
                case "parallel" if text != b"null":
                    parallel = _read_bool(text)
    except RecursionError:
        raise JsonFault("nested too deep") from None
    return commands, parallel


def write_batch(response: api_pb2.BatchResponse) -> bytes:
    """The JSON of a batch; a reply that cannot be written becomes an error reply."""
    try:
        return SERVER.write(response)
    except ForeignData:
        for reply in response.replies:
            _check_written(reply)
        return SERVER.write(response)


def _check_written(reply: api_pb2.Reply) -> None:
    try:
        SERVER.write(reply)
    except ForeignData as cause:
        reply.Clear()
        fill_error(reply.error, InternalError(str(cause)))


def _read_commands(text: bytes) -> list[api_pb2.Command | None]:
    try:
        texts = split_array(text)
    except JsonFault as fault:
        raise fault.inside("commands") from None
    if len(texts) > MAX_COMMANDS:
        raise JsonFault(f"must be at most {MAX_COMMANDS}", "commands")
    commands: list[api_pb2.Command | None] = []
    for number, raw in enumerate(texts):
        one = bytes(raw)
        try:
            commands.append(
                None if one == b"null" else SERVER.read(api_pb2.Command, one)
            )
        except JsonFault as fault:
            raise fault.inside(f"commands[{number}]") from None
    return commands


def _read_bool(text: bytes) -> bool:
    if text not in (b"true", b"false"):
        raise JsonFault("must be true or false", "parallel")
    return text == b"true"
