"""What is said of a job that left the hands of its worker is what the queue says."""

from __future__ import annotations

from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.core.errors import QueueUnavailable
from tocsin.delivery.reports import LostJobs, Whereabouts
from tocsin.telemetry.metrics import Metrics


class Bench:
    """One job in hand."""

    def __init__(self) -> None:
        self.queue = MemoryJobQueue(ManualClock())
        self.metrics = Metrics()
        self.lost = LostJobs(self.queue, self.metrics)
        self.delivery = self.queue.hand_out(make_send_job(3))

    async def begin(self) -> None:
        await self.lost.look()
        self.lost.begin(self.delivery)

    async def said(self) -> tuple[str, str]:
        """The level and the reason of the one line, which the metric has too."""
        with capture_logs() as logs:
            await self.lost.tell(self.delivery, unsent=2)
        [line] = logs
        assert line["unsent"] == 2
        assert self.metrics.push_lost_jobs.get("fcm", line["reason"]) == 1
        return line["log_level"], line["reason"]


async def test_an_entry_that_is_there_was_taken_over() -> None:
    """Only then another worker has it for sure."""
    bench = Bench()
    await bench.begin()
    assert await bench.said() == ("warning", Whereabouts.TAKEN_OVER)


async def test_an_entry_that_is_not_there_was_ended_or_deleted() -> None:
    """Nobody is named who cannot be known."""
    bench = Bench()
    await bench.begin()
    bench.queue.finish()
    assert await bench.said() == ("warning", Whereabouts.GONE)


async def test_a_queue_with_other_data_has_lost_the_job() -> None:
    """After FLUSHALL no other worker is to blame."""
    bench = Bench()
    await bench.begin()
    bench.queue.data.lose(epoch="second")
    assert await bench.said() == ("error", Whereabouts.DATA_LOST)


async def test_a_job_that_came_before_the_first_look_is_known_to_be_lost() -> None:
    """A worker takes jobs from its first moment on."""
    bench = Bench()
    bench.lost.begin(bench.delivery)
    await bench.lost.look()
    bench.queue.data.lose(epoch="second")
    assert await bench.said() == ("error", Whereabouts.DATA_LOST)


async def test_what_was_found_first_is_what_is_told() -> None:
    """Where the taker has ended the job by then, it was taken over nevertheless."""
    bench = Bench()
    await bench.begin()
    await bench.lost.find([bench.delivery])
    bench.queue.finish()
    assert await bench.said() == ("warning", Whereabouts.TAKEN_OVER)


async def test_a_queue_that_is_away_tells_nothing() -> None:
    """No cause is guessed."""
    bench = Bench()
    await bench.begin()

    bench.queue.faults["find_queued"] = [QueueUnavailable()]
    assert await bench.said() == ("warning", Whereabouts.UNKNOWN)


async def test_what_has_ended_before_it_was_found_is_not_remembered() -> None:
    """Else a worker would keep it for ever."""
    bench = Bench()
    await bench.begin()
    bench.lost.end(bench.delivery)
    await bench.lost.find([bench.delivery])
    bench.queue.finish()
    assert await bench.said() == ("warning", Whereabouts.GONE)


async def test_a_job_of_which_nothing_was_begun_has_no_number_unsent() -> None:
    """The line says how many only where somebody counted."""
    bench = Bench()
    await bench.begin()
    with capture_logs() as logs:
        await bench.lost.tell(bench.delivery)
    [line] = logs
    assert (line["recipients"], "unsent" in line) == (3, False)


async def test_a_job_that_came_before_the_first_look_is_not_taken_for_lost() -> None:
    """As long as the queue has the data that the first look found."""
    bench = Bench()
    bench.lost.begin(bench.delivery)
    bench.queue.finish()
    assert await bench.said() == ("warning", Whereabouts.GONE)
    await bench.lost.look()
    with capture_logs() as logs:
        await bench.lost.tell(bench.delivery)
    assert logs[0]["reason"] == Whereabouts.GONE


async def test_what_was_found_is_forgotten_with_the_end_of_the_work() -> None:
    """Whoever takes an entry over has the receipt that its last holder had."""
    bench = Bench()
    await bench.begin()
    await bench.lost.find([bench.delivery])
    bench.lost.end(bench.delivery)
    bench.lost.begin(bench.delivery)
    bench.queue.finish()
    assert await bench.said() == ("warning", Whereabouts.GONE)
