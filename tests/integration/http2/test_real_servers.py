"""The engine against servers that other people use: nginx, nghttpd and granian."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.sink import (
    SEND_ANSWER,
    SEND_PATH,
    Sink,
    free_port,
    nginx_path,
    sink,
)
from tests.support.certificates import make_ca
from tests.support.children import ending_with_parent
from tests.support.http2_client import (
    head_for,
    pool_for,
    send_many,
    statuses,
    until_answered,
)

from tocsin.http2 import RequestHead, build_ssl_context

BODY = b'{"message":{"token":"' + b"t" * 380 + b'"}}'


@pytest.fixture(scope="module", params=["nginx", "granian"])
def server(request: pytest.FixtureRequest) -> Iterator[Sink]:
    """A sink of this kind; skipped where its program is not installed."""
    if request.param == "nginx" and nginx_path() is None:
        pytest.skip("nginx is not on PATH")
    with sink(request.param) as running:
        yield running


async def test_thousands_of_pushes(server: Sink) -> None:
    """3,000 requests over two connections are all answered, with the right body."""
    context = build_ssl_context(server.ca_file)
    async with pool_for(server.origin, ssl_context=context) as pool:
        head = head_for(server.origin, SEND_PATH)
        results = await send_many(pool, head, 3000, BODY)
        assert statuses(results) == [200] * 3000
        assert {r.body for r in results} == {SEND_ANSWER.encode()}


async def test_bodies_larger_than_the_window(server: Sink) -> None:
    """300 KB each, answered by nginx before it read them: answers all the same."""
    context = build_ssl_context(server.ca_file)
    async with pool_for(server.origin, ssl_context=context) as pool:
        head = head_for(server.origin, SEND_PATH)
        results = await send_many(pool, head, 40, b"x" * 300_000)
        assert statuses(results) == [200] * 40
        assert (await pool.request(head.with_path("/none"), BODY)).status == 404


@pytest.fixture
def hasty_nginx(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """(origin, CA file) of an nginx that says GOAWAY after 50 requests."""
    path = nginx_path()
    if path is None:
        pytest.skip("nginx is not on PATH")
    ca = make_ca(tmp_path)
    cert, key = ca.issue()
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; {user} pid {tmp_path}/pid;"
        f"error_log {tmp_path}/error.log; events {{}}"
        f"http {{ access_log off; {folders} keepalive_requests 50;"
        f"server {{ listen 127.0.0.1:{port} ssl http2;"
        f"ssl_certificate {cert}; ssl_certificate_key {key};"
        "location / { return 200 '{}'; } } }"
    )
    process = subprocess.Popen(
        ending_with_parent(
            [path, "-p", f"{tmp_path}", "-c", f"{conf}", "-e", f"{tmp_path}/error.log"]
        )
    )
    yield f"https://127.0.0.1:{port}", str(ca.pem_path)
    process.terminate()
    process.wait(timeout=10)


async def test_nginx_closes_connections_often(hasty_nginx: tuple[str, str]) -> None:
    """Its graceful GOAWAY after every 50 requests loses nothing."""
    origin, ca_file = hasty_nginx
    context = build_ssl_context(ca_file)
    async with pool_for(origin, ssl_context=context, max_streams=20) as pool:
        await until_answered(pool, head_for(origin))
        results = await send_many(pool, head_for(origin), 1000, BODY)
        assert statuses(results) == [200] * 1000


@pytest.fixture(scope="module")
def nghttpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(origin, CA file) of an nghttpd that echoes uploads."""
    path = shutil.which("nghttpd") or shutil.which("nghttpd", path="/usr/sbin")
    if path is None:
        pytest.skip("nghttpd is not on PATH")
    folder = tmp_path_factory.mktemp("nghttpd")
    ca = make_ca(folder)
    cert, key = ca.issue()
    port = free_port()
    process = subprocess.Popen(
        [
            *(path, "--echo-upload", "-a", "127.0.0.1", "--trailer", "x-end: yes"),
            *("-d", str(folder), str(port), str(key), str(cert)),
        ],
        stdout=subprocess.DEVNULL,
    )
    yield f"https://127.0.0.1:{port}", str(ca.pem_path)
    process.terminate()
    process.wait(timeout=10)


async def test_nghttpd_echoes_what_was_sent(nghttpd: tuple[str, str]) -> None:
    """Small and large bodies come back whole through both windows, with trailers."""
    origin, ca_file = nghttpd
    context = build_ssl_context(ca_file)
    async with pool_for(origin, ssl_context=context) as pool:
        head = RequestHead.build("POST", origin, "/echo", {"content-type": "a/b"})
        await until_answered(pool, head)
        for body in (b"small", os.urandom(400_000)):
            results = await send_many(pool, head, 30, body)
            assert statuses(results) == [200] * 30
            assert {r.body == body for r in results} == {True}
