"""Signals at every moment of a process: it ends in order, or goes on."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.tocsin_processes import (
    COMMAND,
    Process,
    Processes,
    wait_until,
)

from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator
from tocsin.simulator.service_account import prepare_service_account

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

# Sends a signal to itself when a module begins to be imported.
SIGNALLED = """
import importlib.abc, os, sys

where, number, *rest = sys.argv[1:]

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == where:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(number))
        return None

sys.meta_path.insert(0, Finder())
sys.argv = ["tocsin", *rest]
from tocsin.cli.main import main
sys.exit(main())
"""
MOMENTS = ("tocsin.cli.serve", "tocsin.config", "uvloop")
"""The verb is found; the configuration is read; the event loop begins."""


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "http_server": {"address": "127.0.0.1", "port": 0},
        "http_api": {"key": "k"},
        "grpc_api": {"enabled": False},
        "database": {"sqlite": {"path": str(folder / "t.db")}},
        "shutdown": {"timeout": "2s"},
        "push_notifications": {
            "enabled_providers": ["expo"],
            "expo": {"access_token": "x"},
        },
        **more,
    }


def write(folder: Path, **more: Any) -> str:
    path = folder / "c.json"
    path.write_text(json.dumps(settings(folder, **more)))
    return str(path)


def arguments(verb: str, folder: Path) -> list[str]:
    if verb == "simulate":
        return [verb, "--port", "0"]
    if verb == "demo":
        return [verb]
    known = {"queue": ["dead"], "devices": ["removed"], "funnel": ["x"]}
    more = known.get(verb, [])
    return [verb, *more, "--config", write(folder)]


def run_signalled(
    folder: Path, where: str, number: int, command: list[str]
) -> tuple[int, str]:
    """Exit code and output of a verb that is signalled at that import."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, where, str(int(number)), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("verb", "code", "where"),
    [
        *(("serve", 0, where) for where in MOMENTS),
        *(("worker", 0, "tocsin.config"), ("simulate", 0, "uvloop")),
        *(("demo", 1, "uvloop"), ("migrate", 1, "uvloop"), ("queue", 1, "uvloop")),
        ("devices", 1, "uvloop"),
        ("credentials", 1, "uvloop"),
    ],
)
def test_a_stop_before_the_start_is_an_orderly_end(
    tmp_path: Path, verb: str, code: int, where: str
) -> None:
    """Nothing is begun; who had something to do says that it is not done."""
    command = arguments(verb, tmp_path)
    found, output = run_signalled(tmp_path, where, signal.SIGTERM, command)
    assert "Traceback" not in output
    assert found == code, output
    assert not (tmp_path / "t.db").exists()


@pytest.mark.parametrize(
    ("verb", "number", "where"),
    [
        ("migrate", signal.SIGHUP, "uvloop"),
        ("migrate", signal.SIGUSR1, "tocsin.config"),
        ("check-config", signal.SIGHUP, "tocsin.config"),
    ],
)
def test_no_other_signal_ends_a_verb_before_its_end(
    tmp_path: Path, verb: str, number: int, where: str
) -> None:
    """It does what it was asked for."""
    found, output = run_signalled(tmp_path, where, number, arguments(verb, tmp_path))
    assert found == 0, output
    assert "schemas are up to date" in output or "ok" in output


def is_handled(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.parametrize("verb", ["serve", "worker", "simulate"])
def test_hangups_never_end_a_process(
    processes: Processes, tmp_path: Path, verb: str
) -> None:
    """From the first moment that can be seen to its drain, one after the other."""
    process = processes.start(*arguments(verb, tmp_path))
    child = process.child
    wait_until(lambda: is_handled(process.pid, signal.SIGHUP), what="a handler")
    begun = {"serve": "worker started", "worker": "worker started"}.get(
        verb, "what happened"
    )

    def has_begun_in_spite_of_one_more() -> bool:
        child.send_signal(signal.SIGHUP)
        return begun in process.text()

    wait_until(has_begun_in_spite_of_one_more, what="its start")
    child.send_signal(signal.SIGTERM)
    while child.poll() is None:
        child.send_signal(signal.SIGHUP)
        time.sleep(0.001)
    assert child.returncode == 0, process.text()
    assert "Traceback" not in process.text()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("verb", "code"),
    [("serve", 0), ("worker", 0), ("migrate", 1), ("devices removed", 1)],
)
def test_a_stop_ends_a_start_that_waits(
    processes: Processes, tmp_path: Path, verb: str, code: int
) -> None:
    """A database that never answers keeps no process."""
    with silent_server() as port:
        dsn = f"postgresql://tocsin@127.0.0.1:{port}/tocsin"
        path = write(tmp_path, database={"postgresql": {"dsn": dsn}})
        process = processes.start(*verb.split(), "--config", path)
        wait_until(lambda: connected_to(process.pid, port), what="a connection")
        assert process.terminate(deadline_s=20) == code
    assert "Traceback" not in process.text()


def connected_to(pid: int, port: int) -> bool:
    """Whether that process has a connection to this port."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(link.readlink())
        except OSError:
            continue
        if name.startswith("socket:["):
            inodes.add(name[8:-1])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and fields[2].endswith(f":{port:04X}"):
            return True
    return False


def test_a_terminal_that_is_gone_ends_the_process_in_order(tmp_path: Path) -> None:
    """Nobody would read its log any more."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [*COMMAND, "serve", "--config", write(tmp_path)],
        cwd=tmp_path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=lambda: os.login_tty(0),
    )
    os.close(slave)
    try:
        seen = b""
        while b"worker started" not in seen:
            seen += os.read(master, 65536)
        os.close(master)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()


def test_a_log_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    """The server answers on, and its end is no fault."""
    port = free_port()
    path = write(tmp_path, http_server={"address": "127.0.0.1", "port": port})
    child = subprocess.Popen(
        [*COMMAND, "serve", "--config", path],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        while b"worker started" not in child.stdout.readline():
            assert child.poll() is None
        child.stdout.close()
        for _ in range(3):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/info", data=b"{}"
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            with refused.value as answer:
                assert answer.code == 401
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=30)
        assert child.returncode == 0, said
        assert said == b""
    finally:
        child.kill()
        child.wait()


def test_output_that_nobody_reads_is_no_fault(tmp_path: Path) -> None:
    """As in `tocsin queue status | true`: no word, and not success."""
    path = write(tmp_path)
    subprocess.run([*COMMAND, "migrate", "--config", path], check=True, timeout=60)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "queue", "status", "--config", path],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def fcm(simulator: Simulator, account: Path) -> Mapping[str, Any]:
    return {
        "enabled_providers": ["fcm"],
        "fcm": {
            "credentials_file": str(account),
            "endpoint": simulator.origin,
            "ca_file": str(simulator.ca_file),
        },
    }


def send(port: int, token: str) -> None:
    body = {
        "recipient": {"fcm_tokens": [token]},
        "notification": {"fcm": {"message": {"notification": {"title": "x"}}}},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/send_push_notification",
        data=json.dumps(body).encode(),
        headers={"X-API-Key": "k"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert "result" in json.loads(answer.read())


def hang_up(process: Process, event: str) -> dict[str, Any]:
    """The next line of that event after a SIGHUP."""
    before = len(process.events())
    process.child.send_signal(signal.SIGHUP)
    found: list[dict[str, Any]] = wait_until(
        lambda: [line for line in process.events()[before:] if line["event"] == event],
        what=event,
    )
    return found[0]


@pytest.mark.parametrize("verb", ["worker", "serve"])
def test_a_hangup_reads_the_credentials_anew(
    processes: Processes, simulator: Simulator, tmp_path: Path, verb: str
) -> None:
    """A file that is wrong changes nothing; the right one is sent with at once."""
    port = free_port()
    account = tmp_path / "account.json"
    # Of somebody else: the provider takes no token that it signs.
    prepare_service_account(account, f"{simulator.origin}/token")
    path = write(
        tmp_path,
        http_server={"address": "127.0.0.1", "port": port},
        worker={"embedded": verb == "serve"},
        push_notifications=fcm(simulator, account),
    )
    server = processes.start("serve", "--config", path).wait_ready(port)
    worker = server
    if verb == "worker":
        worker = processes.start("worker", "--config", path)
    worker.wait_event("worker started")
    send(port, "held-back")
    worker.wait_event("batch settled")

    account.write_text("{}")
    told = hang_up(worker, "nothing was reloaded")
    assert "push_notifications.fcm.credentials_file" in told["reason"]

    shutil.copy(simulator.of(Fcm).account_file, account)
    told = hang_up(worker, "credentials of providers are read anew")
    assert told["changed"] == ["fcm"]
    send(port, "at-once")
    delivered = simulator.ledger.delivered
    wait_until(lambda: delivered.get("at-once"), what="a push with the new one")
    told = hang_up(worker, "credentials of providers are read anew")
    assert told["changed"] == []
    assert worker.terminate() == 0


@pytest.mark.parametrize(
    ("redirection", "verb", "code"),
    [
        (">&-", "check-config", 0),
        (">&- 2>&-", "check-config", 0),
        ("2>&-", "queue", 2),
        ("> /dev/full", "check-config", 1),
        ("> /dev/full", "--help", 0),
        ("| true", "--help", 0),
    ],
)
def test_output_that_cannot_be_written_is_no_traceback(
    tmp_path: Path, redirection: str, verb: str, code: int
) -> None:
    """Closed, full, or left by whoever read it."""
    more = f"--config {write(tmp_path)}" if verb == "check-config" else ""
    command = f"{sys.executable} -m tocsin.cli.main {verb} {more} {redirection}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("\n") <= 1
