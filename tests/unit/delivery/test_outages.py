"""An outage of our own store is told once, whoever meets it."""

from __future__ import annotations

from structlog.testing import capture_logs

from tocsin.core.errors import BrokerUnavailable, InternalError, QueueUnavailable
from tocsin.delivery.outages import DATABASE, QUEUE, QUIET_S, REMIND_S, Outages


class Time:
    """Seconds that move only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_many_jobs_tell_one_outage_once() -> None:
    """One line when it goes and one when it is back, with how often it failed."""
    time = Time()
    outages = Outages(time)
    with capture_logs() as logs:
        for _ in range(100):
            outages.note(QueueUnavailable("refused"), doing="settle jobs")
        time.now_s += QUIET_S
        outages.fine(QUEUE)
        outages.fine(QUEUE)
    assert [line["log_level"] for line in logs] == ["warning", "info"]
    assert logs[0]["reason"] == "refused"
    assert (logs[1]["faults"], logs[1]["away_s"]) == (100, QUIET_S)


def test_each_store_has_its_own_outage() -> None:
    """Which store it is follows from the fault."""
    outages = Outages(Time())
    faults = (InternalError("x"), QueueUnavailable(), BrokerUnavailable())
    with capture_logs() as logs:
        for fault in faults:
            outages.note(fault, doing="work")
    assert [line["store"] for line in logs] == [DATABASE, QUEUE, "channel engine"]


def test_a_store_that_takes_reads_alone_is_not_back() -> None:
    """Successes between faults begin no new outage, and end none."""
    time = Time()
    outages = Outages(time)
    with capture_logs() as logs:
        for _ in range(20):
            outages.note(QueueUnavailable(), doing="settle jobs")
            time.now_s += QUIET_S / 2
            outages.fine(QUEUE)
    assert [line["log_level"] for line in logs] == ["warning"]


def test_a_long_outage_is_told_again() -> None:
    """Who looks into the log an hour later finds it there."""
    time = Time()
    outages = Outages(time)
    with capture_logs() as logs:
        outages.note(QueueUnavailable(), doing="settle jobs")
        time.now_s += REMIND_S
        outages.note(QueueUnavailable(), doing="settle jobs")
    assert logs[1]["away_s"] == REMIND_S


def test_a_store_that_never_failed_is_not_called_back() -> None:
    """Success alone writes nothing."""
    with capture_logs() as logs:
        Outages(Time()).fine(QUEUE)
    assert logs == []
