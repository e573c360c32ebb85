from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.simulated_fcm import client_of, control, running_simulator

from tocsin.simulator.server import Simulator


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


@pytest.mark.parametrize("http2", [True, False])
async def test_both_http_versions_are_spoken(simulator: Simulator, http2: bool) -> None:
    """ALPN chooses; the answers are the same."""
    async with client_of(simulator, http2=http2) as client:
        answer = await client.get("/control/stats")
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert answer.json()["connections"] == 1


async def test_http2_needs_no_alpn(simulator: Simulator) -> None:
    """A client that offers no ALPN is known by its first bytes."""
    context = ssl.create_default_context(cafile=simulator.ca_file)
    host, port = simulator.origin.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    writer.write(preface[:5])
    await writer.drain()
    writer.write(preface[5:] + b"\0\0\0\4\0\0\0\0\0")
    async with asyncio.timeout(10):
        head = await reader.readexactly(9)
    writer.close()
    await writer.wait_closed()
    assert head[3] == 0x4


async def test_control_tells_and_resets(simulator: Simulator) -> None:
    """Deliveries can be paged through, and everything can be forgotten."""
    for target in ("a", "b", "b"):
        simulator.ledger.deliver(target)
    async with client_of(simulator) as client:
        page = await client.get("/control/delivered", params={"limit": 1})
        assert page.json() == {"delivered": [["a", 1]], "next": 1}
        page = await client.get("/control/delivered", params={"at_least": 2})
        assert page.json()["delivered"] == [["b", 2]]
        one = await client.get("/control/delivered", params={"token": "b"})
        assert one.json()["delivered"] == [["b", 2]]
        await client.post("/control/faults", json={"goaway_after": 5})
        await client.post("/control/reset")
        assert (await client.get("/control/stats")).json()["accepted"] == 0
    assert simulator.goaway_after == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/control/faults", "{", 400),
        ("POST", "/control/faults", "[]", 400),
        ("POST", "/control/faults", '{"nonsense": 1}', 400),
        ("GET", "/control/delivered?limit=x", "", 400),
        ("GET", "/control/nothing", "", 404),
        ("GET", "/", "", 404),
    ],
)
async def test_wrong_requests_are_answered(
    simulator: Simulator, method: str, path: str, body: str, status: int
) -> None:
    """Every mistake gets a status and a reason."""
    async with client_of(simulator) as client:
        answer = await client.request(method, path, content=body)
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_access_tokens_can_be_revoked(simulator: Simulator) -> None:
    """The control endpoint says how many it took back."""
    assert await control(simulator, expire_access_tokens=True) == {
        "expired_access_tokens": 0
    }


async def test_fast_mode_answers_unread(tmp_path: Path) -> None:
    """No token and no valid body is needed, and requests are counted."""
    async with running_simulator(tmp_path, fast=True) as simulator:
        for http2 in (True, False):
            async with client_of(simulator, http2=http2) as client:
                answer = await client.post(simulator.fast_path, content=b"rubbish")
                assert answer.json()["name"].endswith("/messages/fast")
        assert simulator.ledger.stats()["fast_answers"] == 2


async def test_a_restart_on_the_same_folder_keeps_clients(tmp_path: Path) -> None:
    """CA and account key stay; a busy port is an error."""
    async with running_simulator(tmp_path) as first:
        port = int(first.origin.rsplit(":", 1)[1])
        ca = first.ca_file, _read(first.ca_file)
        with pytest.raises(OSError, match="in use"):
            await Simulator(tmp_path / "other", port=port).start()
    async with running_simulator(tmp_path, port=port) as second:
        assert (second.ca_file, _read(second.ca_file)) == ca


async def test_stop_ends_open_connections(tmp_path: Path) -> None:
    """Nothing hangs on a client that stays."""
    async with running_simulator(tmp_path) as simulator:
        host, port = simulator.origin.removeprefix("https://").split(":")
        idle = socket.create_connection((host, int(port)))
        async with client_of(simulator) as client:
            await client.get("/control/stats")
            async with asyncio.timeout(10):
                await simulator.stop()
        idle.close()


def _read(file: str) -> bytes:
    return Path(file).read_bytes()
