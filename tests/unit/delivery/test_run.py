"""What is left of a batch, and which of it is done for good."""

from __future__ import annotations

import pytest
from tests.support.jobs import make_payload, make_send_job

from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.delivery.run import Run


def make_run(size: int, done: bytes = b"") -> Run:
    job = make_send_job(size)
    return Run(Delivery(job, "send:fcm|1", 1, done), job, make_payload(), 0)


@pytest.mark.parametrize(
    ("size", "done", "finished"),
    [
        (4, b"", set()),
        (20, b"\x01\x80", {0, 15}),
        (20, b"\x00\x01\x08", {8, 19}),
        (17, b"\xff", set(range(8))),
        (16, b"\xff\xff", set(range(16))),
    ],
)
def test_a_take_over_begins_where_the_record_ends(
    size: int, done: bytes, finished: set[int]
) -> None:
    """A bit for each recipient, the first in the lowest; what is missing is to do."""
    run = make_run(size, done)
    assert run.pending == [n for n in range(size) if n not in finished]
    assert run.done_before == len(finished)
    assert (run.taken, run.recorded, run.stopped) == (0, 0, False)
    assert bytes(run.bitmap) == done.ljust((size + 7) // 8, b"\0")


def test_only_what_is_final_is_marked() -> None:
    """Delivered or dead: all else lives on in a job or a letter, once it is written."""
    run = make_run(32)
    run.held = {25}
    dead = Outcome(Verdict.UNREGISTERED, "unregistered")
    others = [v for v in Verdict if v not in {Verdict.DELIVERED, Verdict.UNREGISTERED}]
    run.results = [(0, DELIVERED, 1), (9, dead, 1), (18, DELIVERED, 1), (25, dead, 1)]
    run.results += [(n, Outcome(v, "x"), 1) for n, v in enumerate(others, start=26)]
    run.mark_done(run.take())
    assert bytes(run.bitmap) == b"\x01\x02\x04\x00"
    assert run.take() == []
    run.results.append((31, DELIVERED, 1))
    assert run.take() == [(31, DELIVERED, 1)]
