"""Servers and their SQLite file: one that is lost, one that two have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.tocsin_processes import Process, Processes, fetch, wait_until

pytestmark = pytest.mark.system

WARNING = "another `tocsin serve` is at work on "


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.json"
    content = {
        "http_server": {"address": "127.0.0.1"},
        "grpc_api": {"enabled": False},
        "database": {"sqlite": {"path": "x.db"}},
    }
    path.write_text(json.dumps(content))
    return path


def serve(processes: Processes, config: Path) -> tuple[Process, int]:
    port = free_port()
    process = processes.start(
        *("serve", "--config", str(config), "--http_server.port", str(port))
    )
    return process.wait_ready(port), port


def warned(process: Process) -> bool:
    return any(line["event"].startswith(WARNING) for line in process.events())


def test_a_lost_file_makes_the_server_unready(
    processes: Processes, config: Path
) -> None:
    """The answer of `/ready` says what happened and what to do."""
    _, port = serve(processes, config)
    file = config.parent / "x.db"
    file.rename(config.parent / "away.db")
    ready = f"http://127.0.0.1:{port}/ready"
    wait_until(lambda: fetch(ready)[0] == 503, what="not ready")
    told = json.loads(fetch(ready)[1])["checks"]["database"]
    assert told.startswith(f"the file {file} is gone; ")
    (config.parent / "away.db").rename(file)
    wait_until(lambda: fetch(f"http://127.0.0.1:{port}/ready")[0] == 200)


def test_the_second_server_on_a_file_is_warned(
    processes: Processes, config: Path
) -> None:
    """It serves; who comes after a crash of all others is warned of nothing."""
    first, _ = serve(processes, config)
    second, _ = serve(processes, config)
    assert not warned(first)
    assert warned(second)
    first.kill()
    third, _ = serve(processes, config)
    assert warned(third)
    second.kill()
    assert third.terminate() == 0
    alone, _ = serve(processes, config)
    assert not warned(alone)
