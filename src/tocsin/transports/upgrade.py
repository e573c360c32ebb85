"""Transports room: the WebSocket handshake (RFC 6455): checks, and the answer's head.

It must not know frames.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from aiohttp import web

# The fixed text that RFC 6455 has servers append to the client's key.
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_TOLD = {"Sec-WebSocket-Version": _VERSION}


def read_key(request: web.Request) -> str:
    """The handshake's key.

    Raises `HTTPBadRequest` for what is not a handshake, `HTTPMethodNotAllowed` for one
    with another verb than GET.
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
    """What the client offers, in its order.

    An empty header offers nothing and is no error: an SDK in JSON mode sends one.
    """
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
