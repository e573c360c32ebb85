"""What a unit test may not do: open a socket or start a process."""

from __future__ import annotations

import socket
import subprocess

import pytest


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse both, so that such tests find their place in `tests/integration`."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a unit test opens no socket and starts no process")

    for name in ("bind", "connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
