"""Transports room: from an HTTP request to a bare connection.

It must not know frames. aiohttp reads the request; after the answer the socket
belongs to another asyncio protocol, and aiohttp only waits for its end.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_TOLD = {"Sec-WebSocket-Version": _VERSION}


def read_key(request: web.Request) -> str:
    """The handshake's key; raises `HTTPBadRequest` when this is no handshake.

    One by another verb than GET is `HTTPMethodNotAllowed`.
    """
    headers = request.headers
    upgrades = {part.strip().lower() for part in headers.get("Upgrade", "").split(",")}
    options = {
        part.strip().lower() for part in headers.get("Connection", "").split(",")
    }
    if "websocket" not in upgrades or "upgrade" not in options:
        raise _refuse("a WebSocket handshake is expected here")
    if request.method != "GET":
        raise web.HTTPMethodNotAllowed(
            request.method, ("GET",), text="Method Not Allowed\n", headers=_TOLD
        )
    if headers.get("Sec-WebSocket-Version") != _VERSION:
        raise _refuse("only version 13 of WebSocket is spoken")
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        is_good = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_good = False
    if not is_good:
        raise _refuse("Sec-WebSocket-Key is not 16 bytes")
    return key


def _refuse(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=f"{text}\n", headers=_TOLD)


def offered_subprotocols(request: web.Request) -> list[str]:
    """What the client offers, in its order; an empty header offers nothing."""
    found = request.headers.getall("Sec-WebSocket-Protocol", [])
    parts = (part.strip() for value in found for part in value.split(","))
    return [part for part in parts if part]


def _accept(key: str) -> str:
    digest = hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def switching_head(key: str, subprotocol: str) -> bytes:
    """The bytes that answer a handshake."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {_accept(key)}",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Switched(web.StreamResponse):
    """What a handler returns whose connection was handed over: nothing to write."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - aiohttp's
        """Write nothing: the head is long gone."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


class _EarlyBytes:
    """Stands in as aiohttp's reader to get what came right behind the request."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The new protocol hears of the end itself."""


def hand_over(request: web.Request, protocol: asyncio.Protocol) -> bytes:
    """Make `protocol` the owner of the request's socket.

    Returns what the client sent ahead. The new owner calls the old protocol's
    `connection_lost`, so that aiohttp lets go. Raises `ConnectionResetError` when
    the socket is closed already.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = _EarlyBytes()
    request.protocol.keep_alive(False)
    request.protocol.set_parser(cast("Any", early))
    transport.set_protocol(protocol)
    return early.data
