"""API room: the oldest form of the HTTP API, all commands to one path.

A body holds one or more commands, `{"id", "method", "params"}`, with or without
white space between them; the answer has one line for each. The whole body is read
before the first command runs, so that a broken body changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tocsin.api.batch import MAX_COMMANDS, TURN
from tocsin.api.call import Call, Command, CommandRunner
from tocsin.api.errors import write_error
from tocsin.api.methods.table import COMMANDS
from tocsin.core.errors import ApiError, BadRequest, InternalError, NotFound
from tocsin.protocol import api_pb2
from tocsin.protocol.json_codec import SERVER
from tocsin.protocol.json_text import (
    WHITE,
    ForeignData,
    JsonFault,
    check_utf8,
    skip_space,
    split_object,
)

_EARLY = (
    *("publish", "broadcast", "unsubscribe", "disconnect", "presence"),
    *("presence_stats", "history", "history_remove", "channels", "info", "rpc"),
    *("subscribe", "refresh"),
)
_BEHIND_FIELDS = 3
"""From `connections` on, a method's number is its field number in a batch command less
this."""

NUMBERS: Mapping[int, str] = {
    **dict(enumerate(_EARLY)),
    **{
        field.number - _BEHIND_FIELDS: field.name
        for field in api_pb2.Command.DESCRIPTOR.fields
        if field.name not in _EARLY
    },
}
"""Number → method; the oldest clients send numbers."""

_scan = json.JSONDecoder().raw_decode
_UINT32_MAX = 2**32 - 1
_INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class LegacyCommand:
    """One command as it came; `params` is JSON, or `None` when absent."""

    id: int
    method: str | int
    params: bytes | None


def read_commands(body: bytes) -> list[LegacyCommand]:
    """All commands of a body, at least one; raises `JsonFault`."""
    check_utf8(body)
    try:
        return [_read_command(body)]  # most bodies hold one
    except JsonFault:
        texts = _split(body.decode())
    return [_read_command(text) for text in texts]


def _split(text: str) -> list[bytes]:
    """The JSON values of a text, one after the other."""
    texts: list[bytes] = []
    index = skip_space(text, 0)
    while index < len(text) or not texts:
        if len(texts) == MAX_COMMANDS:
            raise JsonFault(f"must hold at most {MAX_COMMANDS} commands")
        try:
            _, end = _scan(text, index)
        except json.JSONDecodeError as error:
            raise JsonFault(f"not JSON: {error}") from None
        except ValueError:  # Python refuses to convert thousands of digits
            raise JsonFault("not JSON: a number is too long") from None
        except RecursionError:
            raise JsonFault("nested too deep") from None
        texts.append(text[index:end].encode())
        index = skip_space(text, end)
    return texts


def _read_command(text: bytes) -> LegacyCommand:
    parts: dict[str, bytes] = {}
    try:
        if text.strip(WHITE) != b"null":
            for name, raw in split_object(text).items():
                parts[name.lower()] = bytes(raw)
        return LegacyCommand(
            id=_id_from(_value_of(parts, "id", 0)),
            method=_method_from(_value_of(parts, "method", 0)),
            params=parts.get("params"),
        )
    except RecursionError:
        raise JsonFault("nested too deep") from None


def _value_of(parts: Mapping[str, bytes], name: str, default: int) -> Any:
    try:
        value = orjson.loads(parts.get(name, b"null"))
    except orjson.JSONDecodeError as error:
        raise JsonFault(f"cannot be read: {error.msg}", name) from None
    return default if value is None else value


def _id_from(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _UINT32_MAX:
        raise JsonFault(f"must be a whole number from 0 to {_UINT32_MAX}", "id")
    return value


def _method_from(value: Any) -> str | int:
    if type(value) is int and value in _INT32:
        return NUMBERS.get(value, value)
    if type(value) is str and value.lower() in COMMANDS:
        return value.lower()
    raise JsonFault("must be the name or number of a method", "method")


async def run_commands(
    runner: CommandRunner, commands: list[LegacyCommand], call: Call
) -> bytes:
    """Run the commands one after another; returns the lines of the answer."""
    lines = []
    for number, command in enumerate(commands, 1):
        lines.append(await _run_one(runner, command, call))
        if number % TURN == 0:
            await asyncio.sleep(0)
    return b"\n".join(lines)


async def _run_one(runner: CommandRunner, command: LegacyCommand, call: Call) -> bytes:
    head = b'{"id":%d,' % command.id if command.id else b"{"
    answer = await _answer_to(runner, command, call)
    if isinstance(answer, ApiError):
        return head + b'"error":' + write_error(answer) + b"}"
    return head + b'"result":' + answer + b"}"


async def _answer_to(
    runner: CommandRunner, command: LegacyCommand, call: Call
) -> bytes | ApiError:
    """The result as JSON, or the error."""
    known = COMMANDS.get(command.method) if isinstance(command.method, str) else None
    error: ApiError
    if known is None:
        error = NotFound(f"method: no method has the number {command.method}")
        runner.note("unknown", call, 0.0, error)
        return error
    try:
        request = _request_of(known, command.params)
    except BadRequest as fault:
        runner.note(known.name, call, 0.0, fault)
        return fault
    result = known.result_class()
    failed = await runner.run(known, request, result, call)
    if failed is not None:
        return failed
    try:
        return SERVER.write(result)
    except ForeignData as cause:
        error = InternalError()
        runner.note(known.name, call, 0.0, error, cause)
        return error


def _request_of(command: Command, params: bytes | None) -> Any:
    if command.name == "info":
        return command.request_class()
    if params is None:
        raise BadRequest("params", "must be set")
    try:
        return SERVER.read(command.request_class, params)
    except JsonFault as fault:
        raise BadRequest(fault.path or "params", fault.reason) from None
