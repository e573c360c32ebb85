"""Workers on machines whose clocks are hours off, on queues that a server keeps."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.deployment import Deployment
from tests.support.published_client import PublishedClient
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

HOURS_OFF_S = 7200.0


@pytest.mark.parametrize("off_s", [HOURS_OFF_S, -HOURS_OFF_S])
@pytest.mark.parametrize("queue_in", ["redis", "postgresql"])
def test_what_is_due_goes_by_the_clock_of_the_queue(
    queue_in: str,
    off_s: float,
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    redis_address: str,
    published_client: PublishedClient,
) -> None:
    """Neither early, nor hours late, nor taken for expired; and the log warns."""
    queue: dict[str, Any] = {"type": "database"}
    if queue_in == "redis":
        queue = {"type": "redis", "redis": {"address": redis_address}}
    database = {"database": {"postgresql": {"dsn": postgres_dsn}}}
    # Nobody is asked for a token, which would be signed with the wrong time.
    at = Deployment(processes, simulator, database, queue, {"dry_run": True})
    at.serve()
    worker = at.worker(clock_off_s=off_s)
    warning = "this machine's clock is not that of the queue's server"
    lines = [line for line in worker.events() if line["event"].startswith(warning)]
    assert [round(line["ahead_s"], -2) for line in lines] == [off_s]
    due_s = int(time.time()) + 3
    request = {
        "recipient": {"fcm_tokens": ["a", "b", "c"]},
        "notification": {
            "fcm": {"message": {"data": {"a": "b"}}},
            "expire_at": due_s + 600,
        },
        "send_at": due_s,
        "uid": "later",
    }
    answer = published_client.call(at.address, "SendPushNotification", request, key="k")
    assert answer["ok"], answer
    assert "result" in answer["response"], answer

    def settled() -> list[dict[str, Any]]:
        return [line for line in worker.events() if line["event"] == "batch settled"]

    (line,) = wait_until(settled, deadline_s=30, what="a settled batch")
    assert time.time() >= due_s
    assert (line["delivered"], line["recipients"]) == (3, 3)
