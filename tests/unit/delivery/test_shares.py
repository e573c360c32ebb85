from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, ScriptedProvider, make_send_job

from tocsin.core.lanes import Priority
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import SendJob
from tocsin.delivery import shares as shares_module
from tocsin.delivery.shares import CredentialShares, Room

ROOM = Room(4, 100)


class Bench:
    """The lanes of a worker with two FCM credentials; time passes when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(shares_module, "elapsed_s", lambda: self.now_s)
        self.clock = ManualClock()
        self.held: list[Delivery] = []
        providers = {name: ScriptedProvider() for name in names or ("a", "b")}
        self.shares = CredentialShares(providers, self.clock, room=ROOM)

    def hold(
        self, integration: str, size: int = 1, priority: Priority = Priority.NORMAL
    ) -> Delivery:
        """Take a batch into hand."""
        job = job_of(integration, size, priority)
        delivery = Delivery(job, "r", 1, b"")
        self.held.append(delivery)
        self.shares.begin(delivery, size)
        return delivery

    def aside(self, priority: Priority = Priority.NORMAL) -> Room:
        return self.shares.set_aside("fcm", priority)


def job_of(
    integration: str, size: int = 1, priority: Priority = Priority.NORMAL
) -> SendJob:
    return make_send_job(size, integration=integration, priority=priority)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_only_what_is_old_is_set_aside(bench: Bench) -> None:
    """Of one credential, in one lane; it counts again once it has ended."""
    old = bench.hold("a", 10)
    bench.hold("a", 10, priority=Priority.BULK)
    bench.now_s += 1
    bench.hold("b", 10)
    bench.hold("a", 5)
    assert bench.aside() == Room(2, 15)
    assert bench.aside(Priority.BULK) == Room(1, 10)
    assert bench.aside(Priority.TRANSACTIONAL) == Room(0, 0)
    bench.shares.end(old)
    assert bench.aside() == Room(0, 0)


def test_more_recipients_may_take_longer(bench: Bench) -> None:
    """A full lane of a healthy provider is not slow."""
    bench.hold("a", 2000)
    bench.now_s += 1.2
    assert bench.aside() == Room(0, 0)
    bench.now_s += 0.2
    assert bench.aside() == Room(1, 2000)


def test_one_that_is_alone_is_never_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, so nothing of it is put back."""
    bench = Bench(monkeypatch, "a")
    for _ in range(9):
        bench.hold("a", 50)
    bench.now_s += 100
    assert bench.aside() == Room(0, 0)
    assert not bench.shares.is_full(job_of("a"))


@pytest.mark.parametrize(("count", "size"), [(4, 1), (1, 100)])
def test_a_slow_one_has_the_room_of_a_lane_for_itself(
    bench: Bench, count: int, size: int
) -> None:
    """In jobs and in recipients; others go on beside it, and so do its other lanes."""
    for _ in range(count - 1):
        bench.hold("a", size)
    bench.hold("a", size - 1 or 1)
    full = bench.shares.is_full
    assert not full(job_of("a"))
    bench.now_s += 10
    if size > 1:
        assert not full(job_of("a"))
        bench.hold("a")
    assert full(job_of("a"))
    assert not full(job_of("b"))
    assert not full(job_of("a", priority=Priority.BULK))


def test_many_slow_ones_share_what_they_may_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a network that is away does not fill the memory."""
    names = [f"c{number}" for number in range(16)]
    bench = Bench(monkeypatch, *names)
    for name in names:
        bench.hold(name)
    bench.now_s += 10
    assert not bench.shares.is_full(job_of("c0"))
    bench.hold("c0")
    assert bench.shares.is_full(job_of("c0"))
    assert not bench.shares.is_full(job_of("c1"))


def test_what_is_put_off_comes_back_in_line(bench: Bench) -> None:
    """A batch takes longer than a single one; each credential has its own line."""
    shares, now_ms = bench.shares, bench.clock.now_ms()
    assert shares.put_off(job_of("a")) == now_ms + 500
    assert shares.put_off(job_of("a")) == now_ms + 502
    assert shares.put_off(job_of("a", 500)) == now_ms + 552
    assert shares.put_off(job_of("b")) == now_ms + 500
    bench.clock.advance(10)
    assert shares.put_off(job_of("a")) == now_ms + 10_500


def test_the_line_is_no_longer_than_a_minute(bench: Bench) -> None:
    """Behind the moment from which it may come, such as the end of a pause."""
    shares, now_ms = bench.shares, bench.clock.now_ms()
    dues = [shares.put_off(job_of("a", 500)) for _ in range(2000)]
    assert dues[-1] == now_ms + 60_500
    until_ms = now_ms + 300_000
    assert shares.put_off(job_of("b"), until_ms=until_ms) == until_ms
    assert shares.put_off(job_of("b"), until_ms=until_ms) == until_ms + 2


def test_a_slow_one_is_told_of_once_a_minute(bench: Bench) -> None:
    """By its names, and what is in hand."""
    bench.hold("a", 3)
    with capture_logs() as lines:
        for _ in range(3):
            bench.shares.report(job_of("a"))
            bench.now_s += 25
        bench.shares.report(job_of("a"))
    assert len(lines) == 2
    assert lines[0]["integration"] == "a"
    assert (lines[0]["jobs"], lines[0]["recipients"]) == (1, 3)
