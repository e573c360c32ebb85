from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiohttp import HttpVersion11, web

from tocsin.api.http_api import answer_json


class _Peer:
    """What an answer sees of a connection; `held` while nobody takes anything."""

    version = HttpVersion11
    keep_alive = True

    def __init__(self, *, held: bool) -> None:
        self.writing_paused = held
        self.written = b""
        self.taken = asyncio.Event()
        self.is_gone = False
        self.transport = self.writer = self.protocol = self

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        await self.taken.wait()


def _answer(peer: _Peer) -> tuple[web.StreamResponse, web.Request]:
    request = cast("web.Request", cast("Any", peer))
    return answer_json(request, b"{}"), request


async def test_an_answer_that_is_taken_waits_for_nothing() -> None:
    """A short answer is written in one piece and is done."""
    peer = _Peer(held=False)
    answer, request = _answer(peer)
    await answer.prepare(request)
    await answer.write_eof()
    assert peer.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert peer.written.endswith(b"\r\n\r\n{}")
    assert answer.keep_alive


async def test_who_does_not_read_waits() -> None:
    """While a caller leaves answers unread, the next request of it is not begun."""
    peer = _Peer(held=True)
    answer, request = _answer(peer)
    step = asyncio.ensure_future(answer.prepare(request))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not step.done()
    peer.taken.set()
    await step


async def test_nobody_is_left() -> None:
    """A caller that is gone ends as a lost connection, not as an error of ours."""
    peer = _Peer(held=False)
    peer.is_gone = True
    answer, request = _answer(peer)
    with pytest.raises(ConnectionResetError):
        await answer.prepare(request)
