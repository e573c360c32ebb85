from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.system
COMMAND = (sys.executable, "-m", "tocsin.cli.main", "simulate")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_on_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    """What is printed is enough to reach it; both signals end it with 0."""
    process = subprocess.Popen(
        [*COMMAND, "--dir", str(tmp_path), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(24)]
        said = dict(line.rsplit(None, 1) for line in (*lines[:10], *lines[12:]))
        trust = ssl.create_default_context(cafile=said["ca file"])
        stats = httpx.get(
            said["origin"] + "/control/stats", verify=trust, trust_env=False
        )
        assert stats.json()["accepted"] == 0
        form = {
            "grant_type": "client_credentials",
            "client_id": said["HMS app id"],
            "client_secret": said["HMS app secret"],
        }
        token = httpx.post(
            said["origin"] + "/oauth2/v3/token",
            data=form,
            verify=trust,
            trust_env=False,
        )
        assert token.json()["token_type"] == "Bearer"
        files = ("service account", "APNs key", "APNs p12")
        assert all(Path(said[name]).is_file() for name in files)
        with httpx.Client(http2=True, verify=trust, trust_env=False) as client:
            refused = client.post(said["APNs origin"] + "/3/device/00")
        assert refused.json() == {"reason": "MissingProviderToken"}
    finally:
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"{said['origin']}/control/faults -d " in lines[11]


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    """The exit code is 1 and the message holds the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "--dir", str(tmp_path), "--port", port],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
