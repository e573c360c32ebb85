"""The examples do what they say, each where its tools are present."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEY = "example-key"


class Server:
    """A server on SQLite that sends to the simulator."""

    def __init__(self, processes: Processes, simulator: Simulator) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        self.simulator = simulator
        path = processes.directory / "c.json"
        path.write_text(
            json.dumps(
                {
                    "http_server": {"port": self.http_port},
                    "http_api": {"key": KEY},
                    "grpc_api": {"port": self.grpc_port, "key": KEY},
                    "database": {"sqlite": {"path": str(path.with_suffix(".db"))}},
                    "push_notifications": {
                        "enabled_providers": ["fcm"],
                        "fcm": {
                            "credentials_file": simulator.service_account_file,
                            "endpoint": simulator.origin,
                            "ca_file": simulator.ca_file,
                        },
                    },
                }
            )
        )
        server = processes.start("serve", "--config", str(path))
        server.wait_ready(self.http_port)

    def wait_delivered(self, token: str) -> None:
        wait_until(lambda: self.simulator.ledger.delivered.get(token), what=token)


@pytest.fixture
def server(processes: Processes, simulator: Simulator) -> Server:
    return Server(processes, simulator)


def run(
    *command: str, cwd: Path | None = None, environ: dict[str, str] | None = None
) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on PATH")
def test_the_walkthrough_ends(server: Server) -> None:
    """Every call of the push API in the order of the document, by curl and grpcurl."""
    output = run(
        str(EXAMPLES / "walkthrough.sh"),
        environ={
            "HTTP": f"http://127.0.0.1:{server.http_port}",
            "GRPC": f"127.0.0.1:{server.grpc_port}",
            "KEY": KEY,
        },
    )
    assert output.rstrip().endswith("# done")
    wait_until(lambda: server.simulator.ledger.delivered.get("walkthrough-token"))
    assert "some-raw-token" not in server.simulator.ledger.delivered


def test_the_python_client_sends(server: Server, tmp_path: Path) -> None:
    """With stubs made by the command that the documents give."""
    shutil.copy(ROOT / "proto" / "api.proto", tmp_path)
    shutil.copy(EXAMPLES / "clients" / "send.py", tmp_path)
    command = "grpc_tools.protoc -I ./ --python_out=. --grpc_python_out=. api.proto"
    run(sys.executable, "-m", *command.split(), cwd=tmp_path)
    uid = run(
        sys.executable, "send.py", f"127.0.0.1:{server.grpc_port}", KEY, cwd=tmp_path
    )
    assert uid.strip()
    server.wait_delivered("token-from-python")


@pytest.mark.skipif(not shutil.which("node"), reason="node is not on PATH")
def test_the_javascript_client_sends(server: Server) -> None:
    """Over the HTTP API, without a package."""
    path = str(EXAMPLES / "clients" / "send.mjs")
    assert run("node", path, f"http://127.0.0.1:{server.http_port}", KEY).strip()
    server.wait_delivered("token-from-javascript")


def go_tools() -> str:
    """Why the Go client cannot be built here, or nothing."""
    if not shutil.which("go"):
        return "go is not on PATH"
    for tool in ("protoc-gen-go", "protoc-gen-go-grpc"):
        if not shutil.which(tool):
            return f"{tool} is not on PATH"
    return ""


@pytest.mark.skipif(bool(go_tools()), reason=go_tools())
def test_the_go_client_sends(server: Server, tmp_path: Path) -> None:
    """With stubs made from our schema by the Go plugins."""
    shutil.copytree(EXAMPLES / "clients" / "go", tmp_path / "go")
    folder = tmp_path / "go"
    run(
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"),
        *("--go_out=.", "--go-grpc_out=.", "api.proto"),
        cwd=folder,
    )
    (folder / "apiproto").mkdir(exist_ok=True)
    for path in folder.glob("*.pb.go"):
        path.rename(folder / "apiproto" / path.name)
    run("go", "mod", "init", "tocsin.example/send", cwd=folder)
    run("go", "mod", "tidy", cwd=folder)
    address = f"127.0.0.1:{server.grpc_port}"
    assert run("go", "run", ".", address, KEY, cwd=folder).strip()
    server.wait_delivered("token-from-go")
