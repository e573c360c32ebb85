"""A worker or API process that a test may kill: only what it printed is certain.

Run as `python -m tests.support.queue_process JSON`; started by `start_process`.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
from tests.support.children import ending_with_parent
from tests.support.job_queues import (
    EXPAND,
    SEND,
    QueueBackend,
    expand_job,
    payload_for,
    send_job,
)

from tocsin.core.clock import SystemClock
from tocsin.core.ports.queue import JobQueue
from tocsin.core.push import ExpandJob, Job

PAGES = 6
SENDS_PER_PAGE = 3

_ROOT = Path(__file__).parents[2]


@dataclass
class QueueProcess:
    """A child that works on a queue."""

    _process: subprocess.Popen[bytes]

    def read_line(self, within_s: float = 20) -> Any:
        """The next thing that it says, as JSON."""
        out = self._process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], within_s)
        line = out.readline() if ready else b""
        assert line, f"the process said nothing (exit {self._process.poll()})"
        return json.loads(line)

    def kill(self) -> list[Any]:
        """SIGKILL it; returns what it had still said in whole lines."""
        self._process.send_signal(signal.SIGKILL)
        rest, _ = self._process.communicate(timeout=20)
        return [json.loads(line) for line in rest.split(b"\n")[:-1]]

    def tell(self, word: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    def end(self) -> None:
        """Kill it if it still runs."""
        if self._process.returncode is None:
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def pause(self) -> None:
        """SIGSTOP: it stalls, holding what it holds."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self._process.send_signal(signal.SIGCONT)


def start_process(mode: str, backend: QueueBackend, **options: Any) -> QueueProcess:
    """Start one; `mode` is a function below, `options` are its arguments."""
    plan = {"engine": backend.engine, "address": backend.address, **options}
    module = "tests.support.queue_process"
    command = [sys.executable, "-m", module, mode, json.dumps(plan)]
    process = subprocess.Popen(
        ending_with_parent(command),
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    return QueueProcess(process)


def follow_ups(job: Job, *, delay_ms: int = 5) -> list[tuple[Job, int]]:
    """What one page of a walk leads to; ids tell which page it was."""
    assert isinstance(job, ExpandJob)
    page = job.work.page
    follow: list[tuple[Job, int]] = [
        (replace(send_job(job.push_id), id=f"{job.push_id}/{page}/{number}"), 0)
        for number in range(SENDS_PER_PAGE)
    ]
    if page + 1 < PAGES:
        work = replace(job.work, page=page + 1)
        due_ms = SystemClock().now_ms() + delay_ms
        follow.append((replace(job, work=work, id=f"{job.push_id}/{page}"), due_ms))
    return follow


def expected_sends(push_id: str) -> list[str]:
    """The ids of all batches of one walk."""
    return [
        f"{push_id}/{page}/{number}"
        for page in range(PAGES)
        for number in range(SENDS_PER_PAGE)
    ]


async def hold(queue: JobQueue, *, progress: str) -> None:
    """Take one batch, record progress, say so, then neither settle nor renew."""
    (delivery,) = await queue.receive([SEND], limit=1, wait_s=20)
    await queue.record_progress({delivery.receipt: bytes.fromhex(progress)})
    _say({"receipt": delivery.receipt, "count": delivery.count})
    await asyncio.sleep(600)


async def hold_and_settle(queue: JobQueue) -> None:
    """Take one page, settle it when told to, and say how that went."""
    (delivery,) = await queue.receive([EXPAND], limit=1, wait_s=20)
    _say({"receipt": delivery.receipt})
    await asyncio.to_thread(sys.stdin.readline)
    follow = follow_ups(delivery.job, delay_ms=60_000)
    settled = await queue.settle(delivery, follow=follow)
    _say({"settled": settled, "lost": await queue.keep_alive([delivery])})
    await asyncio.sleep(600)


async def walk(queue: JobQueue) -> None:
    """Expand pages as fast as possible until killed."""
    _say("ready")
    while True:
        for delivery in await queue.receive([EXPAND], limit=3, wait_s=1):
            await queue.settle(delivery, follow=follow_ups(delivery.job))


async def accept(queue: JobQueue) -> None:
    """Accept requests as fast as possible until killed; say each accepted one."""
    number = 0
    while True:
        push_id = f"p{number}"
        jobs = [expand_job(push_id), send_job(push_id), send_job(push_id)]
        await queue.enqueue(payload_for(push_id), jobs, once_ttl_s=600)
        _say(push_id)
        number += 1


def _say(what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


async def _main(mode: str, plan: dict[str, Any]) -> None:
    # Standard output is for what the test reads.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    backend = QueueBackend(plan.pop("engine"), plan.pop("address"))
    queue = await backend.open(
        f"process-{os.getpid()}", takeover_s=plan.pop("takeover_s"), limit=100_000
    )
    await globals()[mode](queue, **plan)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], json.loads(sys.argv[2])))
