from __future__ import annotations

import json
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
        said = dict(line.rsplit(None, 1) for line in lines[:22])
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
    assert f"{said['origin']}/control/faults -d " in lines[23]


def test_the_keys_that_lead_there_are_printed(tmp_path: Path) -> None:
    """As JSON that is a configuration: every provider is built from it."""
    process = subprocess.Popen(
        [*COMMAND, "--dir", "sim", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        while (line := process.stdout.readline()) not in ("}\n", ""):
            lines.append(line)
    finally:
        process.terminate()
        process.communicate(timeout=20)
    fragment = "".join([*lines[lines.index("{\n") :], "}"])
    assert set(json.loads(fragment)) == {"push_notifications"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.json").write_text(fragment)
    check = ("check-config", "--config", "c.json")
    done = subprocess.run(
        [*COMMAND[:-1], *check, "--set", "database.sqlite.path=x.db"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (providers,) = (
        line for line in done.stdout.splitlines() if line.startswith("providers:")
    )
    assert len(providers.split(",")) == 9
    assert done.stdout.startswith("ok\n")
    assert "warning:    Web Push may connect to private addresses" in done.stdout


@pytest.mark.parametrize("option", ["--port", "--apns-port"])
def test_a_busy_port_is_named(tmp_path: Path, option: str) -> None:
    """The exit code is 1 and the message says which, in the words of `serve`."""
    more = ("--port", "0") if option == "--apns-port" else ("--apns-port", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "--dir", str(tmp_path), *more, option, port],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"tocsin simulate: cannot listen on 127.0.0.1:{port}: the port is in use;"
        f" stop what holds it, or set {option} to a free port\n"
    )


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file in its place is told with the path."""
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [*COMMAND, "--dir", "file", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert f"the folder {tmp_path / 'file'} cannot be used" in done.stderr
