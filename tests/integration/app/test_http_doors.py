from __future__ import annotations

import base64
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from tests.support.api import World
from tests.support.certificates import make_ca
from tests.support.ports import free_port

from tocsin.api.listening import ListenError
from tocsin.app.access import Access
from tocsin.app.clock import SharedClock
from tocsin.app.faults import explain
from tocsin.app.http_doors import HttpDoors, open_http
from tocsin.app.resources import Resources
from tocsin.config import Config, PemError
from tocsin.telemetry.metrics import Metrics

ANY = {"address": "127.0.0.1", "port": 0}


async def _open(stack: AsyncExitStack, **sections: Any) -> HttpDoors:
    config = Config.model_validate({"http_server": ANY, **sections})
    world = World()
    resources = Resources(config, Metrics(), SharedClock())
    access = Access(config, resources.metrics)
    return await open_http(resources, world.services, world.observed, access, stack)


async def _call(
    port: int, path: str, *, key: str = "k", tls: ssl.SSLContext | None = None
) -> tuple[int, str]:
    verb = "POST" if path.startswith("/api") else "GET"
    scheme = "http" if tls is None else "https"
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            verb,
            f"{scheme}://127.0.0.1:{port}{path}",
            data=b"{}",
            headers={"X-API-Key": key},
            ssl=tls or True,
        ) as answer,
    ):
        return answer.status, await answer.text()


async def test_one_port() -> None:
    """By default API, health and metrics share the port, the key for the API only."""
    async with AsyncExitStack() as stack:
        doors = await _open(stack, http_api={"key": "k"})
        assert doors.port == doors.internal_port
        assert (await _call(doors.port, "/api/device_list"))[0] == 200
        for path in ("/health", "/ready", "/metrics"):
            assert (await _call(doors.port, path, key=""))[0] == 200
        doors.begin_drain()
        assert (await _call(doors.port, "/ready"))[0] == 503
        assert (await _call(doors.port, "/api"))[0] == 503


async def test_an_internal_port() -> None:
    """Everything moves; the public port is held and knows nothing yet."""
    server = {**ANY, "internal_port": free_port()}
    async with AsyncExitStack() as stack:
        doors = await _open(stack, http_server=server, http_api={"key": "k"})
        assert doors.port != doors.internal_port == server["internal_port"]
        for path in ("/api/device_list", "/health", "/metrics"):
            assert (await _call(doors.internal_port, path))[0] == 200
            assert (await _call(doors.port, path))[0] == 404


async def test_no_key() -> None:
    """Without a key every call is refused, and a line at start says what to set."""
    async with AsyncExitStack() as stack:
        with structlog.testing.capture_logs() as logs:
            doors = await _open(stack)
        assert (await _call(doors.port, "/api/device_list"))[0] == 401
        assert (await _call(doors.port, "/health"))[0] == 200
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert "http_api.key" in warning["event"]
    assert "TOCSIN_HTTP_API_KEY" in warning["event"]


async def test_settings_of_the_api() -> None:
    """Prefix, insecure and error mode come from the configuration."""
    api = {"insecure": True, "handler_prefix": "/v1", "error_mode": "transport"}
    async with AsyncExitStack() as stack:
        doors = await _open(stack, http_api=api)
        assert (await _call(doors.port, "/v1/device_list"))[0] == 405  # it was a GET
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://127.0.0.1:{doors.port}/v1/device_register", data=b"{}"
            ) as answer,
        ):
            assert answer.status == 400
            assert (await answer.json())["code"] == 107


async def test_what_is_off() -> None:
    """Without the API its paths are gone; with nothing to serve no port is opened."""
    async with AsyncExitStack() as stack:
        doors = await _open(stack, http_api={"disabled": True, "key": "k"})
        assert (await _call(doors.port, "/api/device_list"))[0] == 404
        assert (await _call(doors.port, "/health"))[0] == 200
        doors = await _open(
            stack,
            http_api={"disabled": True},
            health={"enabled": False},
            prometheus={"enabled": False},
        )
        assert (doors.port, doors.internal_port) == (0, 0)
        doors.begin_drain()


async def test_tls(tmp_path: Path) -> None:
    """TLS holds for both ports; PEM comes as text, base64 or a path."""
    ca = make_ca(tmp_path)
    cert, key = ca.issue()
    tls = {
        "enabled": True,
        "cert_pem": str(cert),
        "key_pem": base64.b64encode(key.read_bytes()).decode(),
    }
    server = {**ANY, "internal_port": free_port(), "tls": tls}
    context = ssl.create_default_context(cafile=str(ca.pem_path))
    async with AsyncExitStack() as stack:
        doors = await _open(stack, http_server=server, http_api={"key": "k"})
        answer = await _call(doors.internal_port, "/api/device_list", tls=context)
        assert answer[0] == 200
        assert (await _call(doors.port, "/health", tls=context))[0] == 404
        with pytest.raises(aiohttp.ClientError):
            await _call(doors.internal_port, "/health")


async def test_faults_at_start(tmp_path: Path) -> None:
    """A busy internal port and a useless PEM are told by their keys."""
    ca = make_ca(tmp_path)
    cert, _ = ca.issue()
    _, wrong = make_ca(tmp_path / "other").issue()
    tls = {"enabled": True, "cert_pem": str(cert), "key_pem": str(wrong)}
    async with AsyncExitStack() as stack:
        doors = await _open(stack)
        server = {**ANY, "internal_port": doors.port}
        with pytest.raises(ListenError, match=r"http_server\.internal_port"):
            await _open(stack, http_server=server)
        with pytest.raises(PemError) as caught:
            await _open(stack, http_server={**ANY, "tls": tls})
    explained = explain(caught.value)
    assert explained is not None
    assert explained.is_configuration
    assert explained.message.startswith("http_server.tls.cert_pem and key_pem: ")


async def test_a_shared_port_keeps_internal_ports_apart() -> None:
    """With reuse_port two servers share the public port, never an internal one."""
    shared = {"address": "127.0.0.1", "port": free_port(), "reuse_port": True}
    internal = [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        for port in internal:
            server = {**shared, "internal_port": port}
            doors = await _open(stack, http_server=server, http_api={"key": "k"})
            assert (doors.port, doors.internal_port) == (shared["port"], port)
        for port in internal:
            assert (await _call(port, "/metrics"))[0] == 200
        again = {**shared, "internal_port": internal[0]}
        with pytest.raises(ListenError):
            await _open(stack, http_server=again)


async def test_one_shared_port_for_all() -> None:
    """With reuse_port and no internal port everything is on the shared port."""
    port = free_port()
    shared = {"address": "127.0.0.1", "port": port, "reuse_port": True}
    async with AsyncExitStack() as stack:
        for _ in range(2):
            doors = await _open(stack, http_server=shared, http_api={"key": "k"})
            assert doors.port == doors.internal_port == port
        assert (await _call(port, "/api/device_list"))[0] == 200
