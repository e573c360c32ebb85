"""TLS handshakes that fail at a whole process: no line for each of them."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tests.support.certificates import make_ca
from tests.support.ports import free_port
from tests.support.tocsin_processes import Processes

pytestmark = pytest.mark.system

NO_TLS = (
    b"\x00garbage" * 100,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
)


def test_bad_handshakes_are_no_flood_of_lines(
    processes: Processes, tmp_path: Path
) -> None:
    """Neither in our log nor past it; the libraries below write for themselves."""
    cert, key = make_ca(tmp_path).issue(["127.0.0.1"])
    tls = {"enabled": True, "cert_pem": str(cert), "key_pem": str(key)}
    https, grpc = free_port(), free_port()
    config = {
        "http_server": {"port": https, "tls": tls},
        "http_api": {"key": "k"},
        "grpc_api": {"port": grpc, "key": "k", "tls": tls},
    }
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config))
    server = processes.start("serve", "--config", str(path))
    server.wait_event("gRPC API listens")
    before = len(server.text().splitlines())
    for door in (https, grpc):
        for nothing in NO_TLS:
            for _ in range(10):
                with socket.create_connection(("127.0.0.1", door), 10) as peer:
                    peer.sendall(nothing)
                    peer.shutdown(socket.SHUT_WR)
                    peer.settimeout(10)
                    try:
                        while peer.recv(4096):
                            pass
                    except ConnectionError:
                        pass
    assert server.terminate() == 0
    lines = server.text().splitlines()[before:]
    assert [line for line in lines if not line.startswith("{")] == []
    assert len(lines) < 6, lines
