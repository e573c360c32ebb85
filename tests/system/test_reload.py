"""A running process takes changed keys, credentials and certificates by itself."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.certificates import make_ca
from tests.support.ports import free_port
from tests.support.tocsin_processes import Process, Processes, fetch, wait_until

from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator
from tocsin.simulator.service_account import prepare_service_account

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

TAKEN = "the configuration was read anew"


class Server:
    """A `tocsin serve` over one file, which tests write anew."""

    def __init__(self, processes: Processes, folder: Path, **sections: Any) -> None:
        self.port, self.grpc_port = free_port(), free_port()
        self.file = folder / "c.json"
        self._sections: dict[str, dict[str, Any]] = {
            "http_server": {"address": "127.0.0.1", "port": self.port},
            "grpc_api": {"address": "127.0.0.1", "port": self.grpc_port},
            "database": {"sqlite": {"path": str(folder / "t.db")}},
            "reload": {"interval": "100ms"},
        }
        self.write(**sections)
        self.process = self.start(processes)

    def start(self, processes: Processes) -> Process:
        """A process over the file that answers at both doors."""
        process = processes.start("serve", "--config", str(self.file))

        def answers() -> bool:
            assert process.child.poll() is None, process.text()
            return any(
                line["event"].startswith("gRPC API ") for line in process.events()
            )

        wait_until(answers, what="an open gRPC door")
        return process

    def text(self, **sections: Any) -> str:
        """The file with these sections over the usual ones."""
        usual = self._sections
        merged = {
            name: {**usual.get(name, {}), **sections.get(name, {})}
            for name in {**usual, **sections}
        }
        return json.dumps(merged)

    def write(self, **sections: Any) -> None:
        self.file.write_text(self.text(**sections))

    def hang_up(self) -> None:
        self.process.child.send_signal(signal.SIGHUP)

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.process.events() if line["event"] == event]

    def wait_lines(self, event: str, count: int) -> dict[str, Any]:
        """The last of that many lines, which come in time."""

        def found() -> bool:
            assert self.process.child.poll() is None, self.process.text()
            return len(self.lines(event)) >= count

        wait_until(found, what=event)
        return self.lines(event)[-1]

    def http(self, key: str) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/info",
            data=b"{}",
            headers={"X-API-Key": key},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def grpc(self, key: str) -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub: Any = api_pb2_grpc.CentrifugoApiStub(channel)
            metadata = (("authorization", f"apikey {key}"),)
            try:
                stub.Info(api_pb2.InfoRequest(), metadata=metadata, timeout=10)
            except grpc.RpcError as error:
                code: Any = error
                assert code.code() is grpc.StatusCode.UNAUTHENTICATED
                return False
            return True

    def metric(self, name: str) -> float:
        _, text = fetch(f"http://127.0.0.1:{self.port}/metrics")
        for line in text.splitlines():
            if line.startswith(f"centrifugo_{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0


def keys(*names: str) -> dict[str, Any]:
    named = [{"name": name, "key": f"key-of-{name}"} for name in names]
    return {"http_api": {"keys": named}, "grpc_api": {"keys": named}}


@pytest.mark.parametrize("by", ["watch", "signal"])
def test_a_key_is_rotated_without_a_restart(
    processes: Processes, tmp_path: Path, by: str
) -> None:
    """Both keys work between the two changes of the file; then the old one is none."""
    watch = {"reload": {"interval": "100ms", "watch_files": by == "watch"}}
    server = Server(processes, tmp_path, **keys("old"), **watch)
    assert (server.http("key-of-old"), server.grpc("key-of-old")) == (200, True)
    assert (server.http("key-of-new"), server.grpc("key-of-new")) == (401, False)
    for step, names in enumerate((("old", "new"), ("new",)), 1):
        server.write(**keys(*names), **watch)
        if by == "signal":
            server.hang_up()
        told = server.wait_lines(TAKEN, step)
        assert told["changed"] == ["http_api.keys", "grpc_api.keys"]
        has_old = "old" in names
        assert server.http("key-of-old") == (200 if has_old else 401)
        assert server.grpc("key-of-old") is has_old
        assert (server.http("key-of-new"), server.grpc("key-of-new")) == (200, True)
    assert server.metric('config_reload_count{result="taken"}') == 2
    text = server.process.text()
    assert "key-of-" not in text
    assert server.process.terminate() == 0


def test_a_broken_file_changes_nothing(processes: Processes, tmp_path: Path) -> None:
    """Every fault is a line, once; the next good file is taken."""
    server = Server(processes, tmp_path, **keys("old"))
    wrong = {"http_api": {"keys": [{"name": "new", "key": "x", "rate": "often"}]}}
    server.write(**wrong, log={"levle": "debug"})
    server.wait_lines("the configuration is wrong; everything stays as it was", 1)
    faults = [
        line["event"]
        for line in server.process.events()
        if line["event"].startswith("configuration: ")
    ]
    assert len(faults) == 2
    assert "http_api.keys[new].rate: must be calls per time" in str(faults)
    assert "log.levle: is not known; did you mean log.level?" in str(faults)
    assert (server.http("key-of-old"), server.http("x")) == (200, 401)
    # Cut in the middle, as by a full disk.
    server.file.write_text(server.text(**keys("new"))[:-30])
    server.wait_lines("the configuration is wrong; everything stays as it was", 2)
    assert server.http("key-of-old") == 200
    assert server.metric('config_reload_count{result="refused"}') == 2
    assert server.metric('config_reload_timestamp_seconds{result="refused"}') > 1e9
    server.write(**keys("new"))
    server.wait_lines(TAKEN, 1)
    assert (server.http("key-of-old"), server.http("key-of-new")) == (401, 200)
    assert len(server.lines("files of the configuration have changed")) == 3


def test_a_mounted_volume_is_swapped(processes: Processes, tmp_path: Path) -> None:
    """As Kubernetes does it: the file is a link into a folder behind a link."""
    server = Server(processes, tmp_path, **keys("first"))
    server.process.kill()
    for version, name in (("v1", "old"), ("v2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.json").write_text(server.text(**keys(name)))
    (tmp_path / "..data").symlink_to("v1")
    server.file.unlink()
    server.file.symlink_to("..data/c.json")
    server.process = server.start(processes)
    assert server.http("key-of-old") == 200
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    server.wait_lines(TAKEN, 1)
    assert (server.http("key-of-old"), server.http("key-of-new")) == (401, 200)


def test_what_needs_a_restart_is_named(processes: Processes, tmp_path: Path) -> None:
    """Beside what is taken: the level of the log, from the next line on."""
    server = Server(processes, tmp_path, **keys("old"), log={"level": "info"})
    server.write(
        **keys("old"), log={"level": "warning"}, websocket={"handler_prefix": "/x"}
    )
    words = "need a restart to take effect: websocket.handler_prefix"
    assert server.wait_lines(words, 1)["level"] == "warning"
    # The level holds before the line that tells of it.
    assert server.lines(TAKEN) == []
    server.write(**keys("old"), log={"level": "info"})
    assert server.wait_lines(TAKEN, 1)["changed"] == ["log.level"]


def test_a_certificate_is_renewed_in_its_place(
    processes: Processes, tmp_path: Path
) -> None:
    """A pair that does not fit is refused until its other half is there, too."""
    ca, other = make_ca(tmp_path / "a", "a"), make_ca(tmp_path / "b", "b")
    cert, key = (tmp_path / "door.pem"), (tmp_path / "door.key")
    for source, target in zip(ca.issue(), (cert, key), strict=True):
        shutil.copy(source, target)
    tls = {"enabled": True, "cert_pem": str(cert), "key_pem": str(key)}
    sections = {
        "http_server": {"tls": tls},
        "grpc_api": {"tls": tls},
        "http_api": {"insecure": True},
    }
    server = Server(processes, tmp_path, **sections)

    def trusts(authority: Path) -> bool:
        context = ssl.create_default_context(cafile=str(authority))
        url = f"https://127.0.0.1:{server.port}/health"
        try:
            with urllib.request.urlopen(url, timeout=10, context=context):
                return True
        except urllib.error.URLError:
            return False

    def shown_over_grpc() -> str:
        return ssl.get_server_certificate(("127.0.0.1", server.grpc_port))

    assert trusts(ca.pem_path)
    assert shown_over_grpc() == cert.read_text()
    new_cert, new_key = other.issue()
    shutil.copy(new_cert, cert)
    told = server.wait_lines("nothing was reloaded", 2)
    assert "tls.cert_pem and key_pem: key values mismatch" in told["reason"]
    assert trusts(ca.pem_path)
    shutil.copy(new_key, key)
    told = server.wait_lines("certificates of doors are read anew", 1)
    assert told["doors"] == ["grpc_api", "http_server"]
    assert (trusts(other.pem_path), trusts(ca.pem_path)) == (True, False)
    assert shown_over_grpc() == new_cert.read_text()


@pytest.mark.parametrize("verb", ["serve", "worker"])
def test_a_file_of_credentials_is_replaced(
    processes: Processes, simulator: Simulator, tmp_path: Path, verb: str
) -> None:
    """What waits for the right one is sent with it; no signal is needed."""
    account = tmp_path / "account.json"
    prepare_service_account(account, f"{simulator.origin}/token")  # of somebody else
    fcm = {
        "credentials_file": str(account),
        "endpoint": simulator.origin,
        "ca_file": str(simulator.ca_file),
    }
    server = Server(
        processes,
        tmp_path,
        http_api={"key": "k"},
        worker={"embedded": verb == "serve"},
        push_notifications={"enabled_providers": ["fcm"], "fcm": fcm},
    )
    worker = server.process
    if verb == "worker":
        worker = processes.start("worker", "--config", str(server.file))
    worker.wait_event("worker started")
    server.process = worker
    account.write_text("{}")
    told = server.wait_lines("nothing was reloaded", 1)
    assert "push_notifications.fcm.credentials_file" in told["reason"]
    shutil.copy(simulator.of(Fcm).account_file, account)
    told = server.wait_lines("credentials of providers are read anew", 1)
    assert told["changed"] == ["fcm"]
    body = {
        "recipient": {"fcm_tokens": ["reached"]},
        "notification": {"fcm": {"message": {"notification": {"title": "x"}}}},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/api/send_push_notification",
        data=json.dumps(body).encode(),
        headers={"X-API-Key": "k"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert "result" in json.loads(answer.read())
    delivered = simulator.ledger.delivered
    wait_until(lambda: delivered.get("reached"), what="a push with the new one")
    assert worker.terminate() == 0
