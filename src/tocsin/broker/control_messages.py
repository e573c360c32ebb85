"""What travels between nodes: bytes ⇄ values. Pure; part of the broker room.

JSON with a kind and the sender; bytes as base64. A node ignores kinds that it does not
know, so that releases can be mixed during a rolling update.
"""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

import orjson

from tocsin.core.channel import NodeInfo, StreamPosition
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import (
    ControlCommand,
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)

_COMMANDS: dict[str, type[Any]] = {
    "subscribe": SubscribeCommand,
    "unsubscribe": UnsubscribeCommand,
    "disconnect": DisconnectCommand,
    "refresh": RefreshCommand,
}
_KINDS = {kind: name for name, kind in _COMMANDS.items()}
_BYTES = ("info", "data")


def encode_message(kind: str, node: str, **fields: Any) -> bytes:
    """A message of this kind from this node."""
    return orjson.dumps({"kind": kind, "node": node, **fields})


def parse_message(data: bytes) -> dict[str, Any]:
    """The fields of a message; raises `ValueError` for foreign bytes."""
    message = orjson.loads(data)
    if not isinstance(message, dict) or not isinstance(message.get("node"), str):
        raise ValueError("not a control message")  # noqa: TRY004 - one error for all foreign bytes
    return message


def pack(data: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(data).decode()


def unpack(text: str) -> bytes:
    """Text back to bytes."""
    return base64.b64decode(text)


def command_fields(command: ControlCommand) -> dict[str, Any]:
    """A command as plain values."""
    fields = asdict(command)
    for name in _BYTES:
        if name in fields:
            fields[name] = pack(fields[name])
    return {"command": _KINDS[type(command)], "fields": fields}


def parse_command(message: dict[str, Any]) -> ControlCommand | None:
    """The command of a message, or `None` for one that this release lacks."""
    kind = _COMMANDS.get(message["command"])
    if kind is None:
        return None
    # Fields of a newer release are left out.
    known = set(kind.__dataclass_fields__)
    fields = {k: v for k, v in message["fields"].items() if k in known}
    fields["target"] = Target(**fields["target"])
    for name in _BYTES:
        if name in fields:
            fields[name] = unpack(fields[name])
    if fields.get("recover_since"):
        fields["recover_since"] = StreamPosition(**fields["recover_since"])
    if fields.get("disconnect"):
        fields["disconnect"] = Disconnect(**fields["disconnect"])
    if "whitelist" in fields:
        fields["whitelist"] = tuple(fields["whitelist"])
    command: ControlCommand = kind(**fields)
    return command


def parse_node(fields: dict[str, Any]) -> NodeInfo:
    """What a node told about itself; newer fields are left out."""
    known = set(NodeInfo.__dataclass_fields__)
    return NodeInfo(**{k: v for k, v in fields.items() if k in known})
