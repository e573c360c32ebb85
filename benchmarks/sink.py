"""A local provider that swallows pushes as fast as it can: TLS, HTTP/2 and HTTP/1.1.

It answers the URLs of FCM, APNs, HMS and Web Push, and token endpoints, with fixed
text, so a benchmark measures its client. nginx with one worker where it is on PATH,
else granian; which one it was is part of the result. The sink ends with the process
that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import make_ca

SEND_ANSWER = '{"name":"projects/p/messages/1"}'
TOKEN_ANSWER = '{"access_token":"t","expires_in":3599,"token_type":"Bearer"}'
SEND_PATH = "/v1/projects/p/messages:send"
HMS_ANSWER = '{"code":"80000000","msg":"Success","requestId":"1"}'
HMS_PATH = "/v1/bench/messages:send"
HMS_TOKEN_PATH = "/oauth2/v3/token"
WPUSH_PATH = "/wpush/"
APNS_PATH = "/3/device/"
START_TIMEOUT_S = 15.0

_NGINX_CONF = """\
daemon off;
master_process on;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    default_type application/json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
    client_header_timeout 3600s;
    large_client_header_buffers 8 32k;
    http2_max_concurrent_streams 1024;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location ~ ^/v1/projects/[^/]+/messages:send$ {{
            return 200 '{send}';
        }}
        location = /token {{
            return 200 '{token}';
        }}
        location = {hms_token_path} {{
            return 200 '{token}';
        }}
        location = {hms_path} {{
            return 200 '{hms}';
        }}
        location ^~ {wpush} {{
            add_header location https://127.0.0.1/m/1 always;
            return 201;
        }}
        location ^~ {apns} {{
            add_header apns-id $http_apns_id always;
            return 200;
        }}
        location / {{
            return 404 '{{"error":{{"code":404,"status":"NOT_FOUND"}}}}';
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Sink:
    """Where the sink listens, whom to trust, and what it is made of."""

    origin: str
    ca_file: str
    name: str
    pid: int


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_with_parent() -> None:
    """Called in the child: the kernel sends SIGTERM when the parent is gone."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def nginx_path() -> str | None:
    """nginx, also where it stands outside an ordinary user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")


def _wait_until_open(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    log = folder / "error.log"
    said = log.read_text() if log.exists() else ""
    raise RuntimeError(f"the sink did not start: {said[-500:]}")


def _nginx_command(folder: Path, port: int, cert: Path, key: Path) -> list[str]:
    path = nginx_path()
    if path is None:
        raise RuntimeError("nginx is not on PATH")
    conf = folder / "nginx.conf"
    conf.write_text(
        _NGINX_CONF.format(
            folder=folder,
            port=port,
            cert=cert,
            key=key,
            send=SEND_ANSWER,
            token=TOKEN_ANSWER,
            hms=HMS_ANSWER,
            hms_path=HMS_PATH,
            hms_token_path=HMS_TOKEN_PATH,
            wpush=WPUSH_PATH,
            apns=APNS_PATH,
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    return [path, "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")]


def _granian_command(port: int, cert: Path, key: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "rsgi"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--http", "auto", "--log-level", "error", "--no-access-log"),
        *("--ssl-certificate", str(cert), "--ssl-keyfile", str(key)),
        "benchmarks.sink:application",
    ]


async def application(scope: object, protocol: object) -> None:
    """The RSGI application behind granian."""
    path = str(getattr(scope, "path", ""))
    headers = [("content-type", "application/json")]
    await protocol()  # type: ignore[operator] # RSGI passes an untyped object
    status, body = 404, '{"error":{"code":404,"status":"NOT_FOUND"}}'
    if path in ("/token", HMS_TOKEN_PATH):
        status, body = 200, TOKEN_ANSWER
    elif path == HMS_PATH:
        status, body = 200, HMS_ANSWER
    elif path.startswith("/v1/projects/") and path.endswith("/messages:send"):
        status, body = 200, SEND_ANSWER
    elif path.startswith(APNS_PATH):
        status, body = 200, ""
        asked = getattr(scope, "headers", {})
        headers = [("apns-id", str(asked.get("apns-id", "")))]
    elif path.startswith(WPUSH_PATH):
        status, body = 201, ""
        headers = [("location", "https://127.0.0.1/m/1")]
    protocol.response_str(status, headers, body)  # type: ignore[attr-defined] # as above


def _version(name: str) -> str:
    if name == "nginx":
        path = nginx_path() or "nginx"
        said = subprocess.run([path, "-v"], capture_output=True, text=True, check=True)
        return said.stderr.strip().rpartition("/")[2]
    from importlib.metadata import version

    return version(name)


@contextlib.contextmanager
def sink(kind: str = "auto") -> Iterator[Sink]:
    """Run the sink: `nginx`, `granian`, or `auto` for the first of them that is there.

    Yields a `Sink`; its files live in a temporary folder that goes away after it.
    """
    if kind == "auto":
        kind = "nginx" if nginx_path() else "granian"
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="tocsin-sink-") as name:
        folder = Path(name)
        ca = make_ca(folder)
        cert, key = ca.issue(["127.0.0.1", "localhost"])
        port = free_port()
        if kind == "nginx":
            command = _nginx_command(folder, port, cert, key)
        else:
            command = _granian_command(port, cert, key)
        process = subprocess.Popen(
            command,
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,
        )
        try:
            _wait_until_open(port, process, folder)
            yield Sink(
                f"https://127.0.0.1:{port}",
                str(ca.pem_path),
                f"{kind} {_version(kind)}, one worker",
                process.pid,
            )
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def trusting_context(ca_file: str, *protocols: str) -> ssl.SSLContext:
    """A context for the sink that offers these protocols by ALPN."""
    context = ssl.create_default_context(cafile=ca_file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
