"""What the README prints is run as it stands, ports and files apart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.npm_packages import FOLDER as PACKAGES
from tests.support.npm_packages import why_no_packages
from tests.support.ports import free_port
from tests.support.tocsin_processes import Processes, fetch, wait_until

from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator
from tocsin.simulator.service_account import prepare_service_account

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in more.items():
        if isinstance(value, dict):
            merge(into.setdefault(name, {}), value)
        else:
            into[name] = value
    return into


class Served:
    """The first configuration of the README, sending to the simulator."""

    def __init__(self, processes: Processes, simulator: Simulator) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        self.simulator = simulator
        self.folder = processes.directory
        config = json.loads(blocks("json")[0])
        local = {
            "http_server": {"port": self.http_port},
            "grpc_api": {"port": self.grpc_port},
            "push_notifications": {
                "fcm": {
                    "credentials_file": simulator.of(Fcm).account_file,
                    "endpoint": simulator.origin,
                    "ca_file": simulator.ca_file,
                }
            },
        }
        path = self.folder / "config.json"
        path.write_text(json.dumps(merge(config, local)))
        processes.start("serve", "--config", str(path)).wait_ready(self.http_port)

    def localized(self, text: str) -> str:
        """An example with the ports of this server."""
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.http_port}")
        return text.replace("127.0.0.1:10000", f"127.0.0.1:{self.grpc_port}")

    def run(self, *command: str) -> str:
        """What a command prints; it has to succeed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def register(self) -> None:
        """What the grpcurl example says, where grpcurl may be missing."""
        body = re.search(r"-d '(.*)'", blocks("bash")[0])
        assert body is not None
        url = f"http://127.0.0.1:{self.http_port}/api/device_register"
        said = self.run(
            *("curl", "-sS", url, "-H", "X-API-Key: change-me", "-d", body.group(1))
        )
        assert json.loads(said)["result"]["id"]

    def wait_pushes(self, count: int) -> None:
        delivered = self.simulator.ledger.delivered
        wait_until(lambda: delivered.get("TOKEN") == count, what=f"{count} pushes")


@pytest.fixture
def served(processes: Processes, simulator: Simulator) -> Served:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return Served(processes, simulator)


def test_the_configurations_are_right(tmp_path: Path) -> None:
    """Alone, and grown by PostgreSQL and Redis, which take SQLite's place."""
    first, grown = (json.loads(block) for block in blocks("json"))
    prepare_service_account(tmp_path / "account.json", "https://127.0.0.1:1/token")
    together = merge(json.loads(blocks("json")[0]), grown)
    del together["database"]["sqlite"]
    for config in (first, together):
        path = tmp_path / "config.json"
        config["push_notifications"]["fcm"] = {"credentials_file": "account.json"}
        path.write_text(json.dumps(config))
        command = ("check-config", "--config", str(path))
        done = subprocess.run(
            [sys.executable, "-m", "tocsin.cli.main", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "unknown" not in done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_walk_from_the_first_line(processes: Processes) -> None:
    """Whoever has nothing but a checkout gets a push delivered, step by step."""
    folder = processes.directory
    first = README.split("## Run it")[1].split("To grow,")[0]
    (config,) = re.findall(r"^```json\n(.*?)^```", first, re.DOTALL | re.MULTILINE)
    commands = re.findall(r"^tocsin (.*)$", first, re.MULTILINE)
    assert commands == [
        "simulate",
        "check-config --config config.json",
        "serve --config config.json",
    ]
    simulated, http, grpc = free_port(), free_port(), free_port()
    ports = ("--port", str(simulated), "--apns-port", "0")
    simulator = processes.start("simulate", *ports)
    wait_until(lambda: "The keys that lead here" in simulator.text(), what="its keys")
    assert "127.0.0.1:9443" in config
    local = {"http_server": {"port": http}, "grpc_api": {"port": grpc}}
    config = config.replace("127.0.0.1:9443", f"127.0.0.1:{simulated}")
    (folder / "config.json").write_text(json.dumps(merge(json.loads(config), local)))

    checked = processes.start(*commands[1].split())
    assert checked.wait_exit() == 0
    assert checked.text().startswith("ok\n")
    # The page's own keys are to be replaced, and are said to be; nothing else is wrong.
    warnings = [x for x in checked.text().splitlines() if x.startswith("warning")]
    assert all("has the value of an example" in line for line in warnings)
    processes.start(*commands[2].split()).wait_ready(http)

    def curl(*arguments: str) -> str:
        return subprocess.run(
            ["curl", "-sS", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    device = re.search(r"-d '(.*)'", blocks("bash")[0])
    assert device is not None
    call = f"http://127.0.0.1:{http}/api"
    key = ("-H", "X-API-Key: change-me", "-d")
    assert '"id"' in curl(f"{call}/device_register", *key, device.group(1))
    send = re.search(r"-d '(.*?)'", blocks("bash")[1], re.DOTALL)
    assert send is not None
    assert '"uid"' in curl(f"{call}/send_push_notification", *key, send.group(1))
    stats = f"https://127.0.0.1:{simulated}/control/stats"
    wait_until(
        lambda: json.loads(curl("--cacert", "simulator/ca.pem", stats))["accepted"],
        what="a push",
    )


def test_the_calls_with_curl(served: Served) -> None:
    """Each is accepted; the device gets both pushes, since nobody is online."""
    served.register()
    scripts = [block for block in blocks("bash") if block.startswith("curl")]
    answers = [
        json.loads(served.run("sh", "-ec", served.localized(script)))
        for script in scripts
    ]
    sent, published, both = (answer["result"] for answer in answers)
    assert sent["uid"] != both["uid"]
    assert published["offset"] == 1
    served.wait_pushes(2)


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not installed")
def test_the_call_with_grpcurl(served: Served) -> None:
    """It registers the device."""
    (script,) = (block for block in blocks("bash") if block.startswith("grpcurl"))
    answer = json.loads(served.run("sh", "-ec", served.localized(script)))
    assert answer["result"]["id"]


def test_the_call_in_python(served: Served) -> None:
    """With stubs that the command in the example generates; a uid is sent once."""
    served.register()
    (script,) = blocks("python")
    command = re.search(r"# python (-m grpc_tools\.protoc .*)", script)
    assert command is not None
    shutil.copytree(ROOT / "proto", served.folder / "proto")
    served.run(sys.executable, *command.group(1).split())
    (served.folder / "send.py").write_text(served.localized(script))
    for _ in range(2):
        assert served.run(sys.executable, "send.py").strip() == "derby-kick-off"
    served.wait_pushes(1)


def test_the_client_in_javascript(served: Served) -> None:
    """It hears what is published, and no push is sent to who was reached."""
    if reason := why_no_packages():
        pytest.skip(reason)
    served.register()
    (script,) = blocks("js")
    config = str(served.folder / "config.json")
    token = served.run(
        *(sys.executable, "-m", "tocsin.cli.main", "gen-token", "--config", config),
        *("--user", "anna"),
    )
    lines = (
        "import WebSocket from 'ws'",
        "globalThis.WebSocket = WebSocket",
        f"const TOKEN = {json.dumps(token.strip())}",
        served.localized(script),
    )
    (served.folder / "online.mjs").write_text("\n".join(lines))
    (served.folder / "node_modules").symlink_to(PACKAGES / "node_modules")
    log = served.folder / "online.log"
    with log.open("wb") as out:
        client = subprocess.Popen(
            ["node", "online.mjs"], cwd=served.folder, stdout=out, stderr=out
        )
    try:
        presence = f"http://127.0.0.1:{served.http_port}/api/presence_stats"
        ask = ("curl", "-sS", presence, "-H", "X-API-Key: change-me", "-d")
        wait_until(
            lambda: '"num_users":1' in served.run(*ask, '{"channel":"news:derby"}'),
            what="a subscriber",
        )
        scripts = [block for block in blocks("bash") if block.startswith("curl")]
        for block in scripts[1:]:
            served.run("sh", "-ec", served.localized(block))
        wait_until(lambda: log.read_text().count("1:0") == 2, what="two publications")
        metrics = f"http://127.0.0.1:{served.http_port}/metrics"
        skipped = re.compile(
            r"^centrifugo_push_online_skipped_count\{.*\} 1", re.MULTILINE
        )
        wait_until(lambda: skipped.search(fetch(metrics)[1]), what="a spared device")
        assert served.simulator.ledger.delivered == {}
    finally:
        client.kill()
        client.wait()
