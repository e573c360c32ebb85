"""A send is followed through the log by the caller's own id."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import Deployment
from tests.support.tocsin_processes import Process, Processes, wait_until

from tocsin.simulator.server import Simulator

pytestmark = pytest.mark.system


def _post(at: Deployment, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    call = urllib.request.Request(
        f"http://127.0.0.1:{at.http_port}/api/send_push_notification",
        data=json.dumps(request).encode(),
        headers={"X-API-Key": "k", "X-Request-Id": "order-7"},
    )
    with urllib.request.urlopen(call, timeout=30) as answer:
        return json.load(answer), answer.headers["X-Request-Id"]


def _trail(process: Process) -> list[dict[str, Any]]:
    return [line for line in process.events() if line.get("request_id") == "order-7"]


def test_a_raw_send_from_the_call_to_its_end(
    processes: Processes, simulator: Simulator, tmp_path: Path
) -> None:
    """Accepted, settled, and in the dead letters: all under one id, without a token."""
    database = {"database": {"sqlite": {"path": str(tmp_path / "t.db")}}}
    at = Deployment(processes, simulator, database, {"type": "database"})
    server = at.serve()  # SQLite alone: the worker runs inside
    tokens = ["fine-one", "dead-one", "badpayload-one"]
    body = {"fcm": {"message": {"notification": {"title": "hush"}}}}
    answer, request_id = _post(
        at, {"uid": "u-7", "recipient": {"fcm_tokens": tokens}, "notification": body}
    )
    assert (answer, request_id) == ({"result": {"uid": "u-7"}}, "order-7")
    wait_until(
        lambda: "batch settled" in [line["event"] for line in _trail(server)],
        deadline_s=60,
        what="the settled batch",
    )
    accepted, letter, settled = _trail(server)
    assert accepted["event"] == "send accepted"
    assert (accepted["recipient"], accepted["recipients"]) == ("tokens", 3)
    assert "dead letters" in letter["event"]
    assert settled["failed"] == {"unregistered": 1, letter["reason"].split(":")[0]: 1}
    assert (settled["recipients"], settled["delivered"], settled["dead"]) == (3, 1, 1)
    for line in (accepted, letter, settled):
        assert (line["uid"], line["push_id"]) == ("u-7", accepted["push_id"])
    listing = processes.start("queue", "dead", "--config", str(at.path))
    assert listing.wait_exit(deadline_s=60) == 0, listing.text()
    assert f"uid u-7  push {accepted['push_id']}  send:fcm" in listing.text()
    for process in (server, listing):
        assert "-one" not in process.text()
        assert "hush" not in process.text()
