"""The examples do what they say, each where its tools are present."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.go_examples import MODULES, prepare
from tests.support.ports import free_port
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.simulator.fcm import Fcm
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
                            "credentials_file": simulator.of(Fcm).account_file,
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
    """By the commands that stand at its head, in its folder of a checkout."""
    folder = tmp_path / "examples" / "clients"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(EXAMPLES / "clients" / "send.py", folder)
    head = (folder / "send.py").read_text().split('"""')[1]
    make, send = re.findall(r"^python (.*)$", head, re.MULTILINE)
    run(sys.executable, *make.split(), cwd=folder)
    assert send == "send.py 127.0.0.1:10000 KEY"
    uid = run(
        sys.executable, "send.py", f"127.0.0.1:{server.grpc_port}", KEY, cwd=folder
    )
    assert uid.strip()
    server.wait_delivered("token-from-python")


@pytest.mark.skipif(not shutil.which("node"), reason="node is not on PATH")
def test_the_javascript_client_sends(server: Server) -> None:
    """Over the HTTP API, without a package."""
    path = str(EXAMPLES / "clients" / "send.mjs")
    assert run("node", path, f"http://127.0.0.1:{server.http_port}", KEY).strip()
    server.wait_delivered("token-from-javascript")


def test_the_go_client_sends(server: Server, tmp_path: Path) -> None:
    """By the two commands that stand at its head, with nothing but Go on PATH."""
    example = prepare("go", tmp_path)
    assert example.run(f"127.0.0.1:{server.grpc_port}", KEY).strip()
    server.wait_delivered("token-from-go")
    assert "usage:" in example.go("run", ".").stderr


@pytest.mark.parametrize("name", MODULES)
def test_a_go_example_is_a_module_with_pinned_plugins(name: str) -> None:
    """Whoever has Go alone can run it; its head says the commands."""
    folder = EXAMPLES / "clients" / name
    module, sums = (folder / "go.mod").read_text(), (folder / "go.sum").read_text()
    for needed in (
        "google.golang.org/grpc v",
        "google.golang.org/protobuf v",
        "google.golang.org/grpc/cmd/protoc-gen-go-grpc v",
    ):
        assert needed in module
        assert needed in sums
    assert "tool (" in module
    head = (folder / "main.go").read_text()
    assert "//\tgo generate\n//\tgo run . " in head
    assert "//go:generate ../go-stubs.sh\n" in head
    imported = re.search(r'"(tocsin\.example/\w+)/apiproto"', head)
    assert imported is not None
    assert module.startswith(f"module {imported[1]}\n")
    script = folder.parent / "go-stubs.sh"
    assert os.access(script, os.X_OK)
