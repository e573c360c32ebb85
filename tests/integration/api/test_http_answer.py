from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.api import KEY, World
from tests.support.http_api import serving_http

from tocsin.api import http_api

_DEVICE = {"provider": "fcm", "token": "t", "platform": "android"}
_HEADERS = {b"content-type", b"content-length", b"date", b"server"}


def _request(path: str, body: object, *more: str, version: str = "1.1") -> bytes:
    text = json.dumps(body)
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: localhost",
        f"X-API-Key: {KEY}",
        f"Content-Length: {len(text)}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


def _split(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = (line.partition(b": ") for line in lines)
    return status, {name.lower(): value for name, _, value in fields}, body


_LAST = _request("/api/device_list", {}, "Connection: close")
_ANSWER = b'{"result":{"items":[],"has_more":false}}'


async def test_short_and_long_answers_look_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer has the same head whether it is written short or by aiohttp."""
    heads = []
    async with serving_http(World()) as http:
        for limit in (16_384, 0):
            monkeypatch.setattr(http_api, "SHORT_BYTES", limit)
            asked = _request("/api/device_list", {}, "X-Request-Id: req-1")
            said = await http.raw(asked, _LAST)
            first, _, _rest = said.partition(_ANSWER)
            status, fields, _ = _split(first)
            heads.append((status, [name for name in fields if name != b"date"]))
            assert set(fields) == {*_HEADERS, b"x-request-id"}
            assert fields[b"content-length"] == str(len(_ANSWER)).encode()
    assert heads[0] == heads[1]


async def test_a_connection_that_is_to_close_is_closed() -> None:
    """Who asks for an end gets it, with HTTP/1.0 and with `Connection: close`."""
    async with serving_http(World()) as http:
        for request in (_LAST, _request("/api/device_list", {}, version="1.0")):
            _status, fields, body = _split(await http.raw(request))
            assert body == _ANSWER
            assert int(fields[b"content-length"]) == len(body)


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent at once get their answers one after the other, all of them."""
    async with serving_http(World()) as http:
        requests = [
            _request("/api/device_register", {**_DEVICE, "token": f"t{number}"})
            for number in range(20)
        ]
        said = await http.raw(b"".join(requests) + _LAST)
        assert said.count(b"HTTP/1.1 200 OK\r\n") == 21
        assert said.count(b'{"result":{"id":"') == 20
        assert said.index(b'{"result":{"id":"') < said.index(b'"items":')


async def test_a_long_answer_comes_whole() -> None:
    """An answer beyond what is written short arrives as a whole."""
    async with serving_http(World()) as http:
        topics = [f"{number:03}-{'x' * 200}" for number in range(100)]
        device = {**_DEVICE, "topics": topics}
        assert "result" in (await http.send("/api/device_register", device)).json
        wanted = {"include_topics": True}
        answer = await http.send("/api/device_list", wanted)
        assert len(answer.body) > 16_384
        assert sorted(answer.json["result"]["items"][0]["topics"]) == topics


async def test_a_caller_that_left_harms_nobody() -> None:
    """A caller that is gone before its answer leaves the server as it was."""
    async with serving_http(World()) as http:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", http.port)
            writer.write(_request("/api/device_list", {}))
            writer.transport.abort()
        answer = await http.send("/api/device_list", {})
        assert answer.body == _ANSWER
