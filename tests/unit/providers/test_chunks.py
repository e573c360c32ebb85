"""Batches cut into requests: what is sent together, and what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from tests.support.sends import FreePace, Reports, batch_of

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch
from tocsin.core.push import Body
from tocsin.providers.chunks import Found, Shape, Split, send_batch
from tocsin.providers.http1 import Http1Client, RequestFailed
from tocsin.providers.json_message import JsonTemplate

SENT = Outcome(Verdict.DELIVERED)
TARGETS = [f"t{i}" for i in range(10)]


@dataclass
class Service:
    """An exchange that notes its requests and answers from a table."""

    size: int = 4
    connections: int = 2
    answers: dict[str, Found | RequestFailed] = field(default_factory=dict)
    requests: list[tuple[bytes, list[str]]] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        http = Http1Client(section="test", max_connections=self.connections)
        self.shape = Shape(http, self.size, frozenset({"to"}))

    async def exchange(self, template: JsonTemplate, targets: Sequence[str]) -> Found:
        self.requests.append((template.with_fields(b""), list(targets)))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        answer = self.answers.pop(targets[0], SENT)
        if isinstance(answer, RequestFailed):
            raise answer
        return answer

    async def send(self, batch: Batch, pace: FreePace | None = None) -> Reports:
        reports = Reports()
        async with asyncio.timeout(10):
            await send_batch(
                batch, reports, pace or FreePace(), self.shape, self.exchange
            )
        return reports

    def sizes(self) -> list[int]:
        return [len(targets) for _, targets in self.requests]


async def test_pieces_are_full_but_the_last() -> None:
    """Ten by four is three requests, two at a time."""
    service = Service()
    reports = await service.send(batch_of(TARGETS))
    assert service.sizes() == [4, 4, 2]
    assert service.most == 2
    assert sorted(reports.outcomes) == list(range(10))


async def test_batches_share_the_connections() -> None:
    """The bound holds for the provider, not for a batch."""
    service = Service(size=1, connections=3)
    await asyncio.gather(*(service.send(batch_of(TARGETS)) for _ in range(4)))
    assert len(service.requests) == 40
    assert service.most == 3


async def test_one_outcome_each_goes_to_its_target() -> None:
    """In the order of the request, also for a batch with gaps."""
    service = Service()
    gone = Outcome(Verdict.UNREGISTERED, "gone")
    service.answers["t1"] = [SENT, gone, SENT]
    reports = await service.send(batch_of(TARGETS, pending=[1, 5, 9]))
    assert reports.outcomes == {1: SENT, 5: gone, 9: SENT}


async def test_a_failed_request_concerns_only_its_own() -> None:
    """The others go on."""
    service = Service()
    away = Outcome(Verdict.RETRY, "connect_failed")
    service.answers["t4"] = RequestFailed(away)
    reports = await service.send(batch_of(TARGETS))
    assert reports.verdicts() == {Verdict.DELIVERED: 6, Verdict.RETRY: 4}
    assert {i for i, one in reports.outcomes.items() if one == away} == {4, 5, 6, 7}


async def test_equal_messages_share_requests() -> None:
    """Rendering for three languages costs three requests, not ten."""
    service = Service()
    bodies = [Body(b'{"n":%d}' % (i % 3)) for i in range(10)]
    batch = replace(batch_of(TARGETS, message=b"{"), bodies=bodies)
    reports = await service.send(batch)
    assert reports.verdicts() == {Verdict.DELIVERED: 10}
    assert sorted(service.sizes()) == [3, 3, 4]
    for message, targets in service.requests:
        assert {int(one[1:]) % 3 for one in targets} == {int(chr(message[-2]))}


async def test_a_broken_message_is_only_its_own_fault() -> None:
    """The one whose rendering went wrong is rejected."""
    service = Service()
    bodies = [Body(b"{}"), Body(b"{"), Body(b"{}")]
    batch = replace(batch_of(TARGETS[:3]), bodies=bodies)
    reports = await service.send(batch)
    assert reports.outcomes[1].code == "invalid_message"
    assert reports.verdicts() == {Verdict.DELIVERED: 2, Verdict.REJECTED: 1}


async def test_a_split_request_is_sent_in_parts() -> None:
    """Nobody is reported before, everybody after, each once."""
    service = Service()
    service.answers["t0"] = Split([[0, 2], [1], [3]])
    reports = await service.send(batch_of(TARGETS[:4]))
    assert reports.verdicts() == {Verdict.DELIVERED: 4}
    parts = [targets for _, targets in service.requests]
    assert parts == [["t0", "t1", "t2", "t3"], ["t0", "t2"], ["t1"], ["t3"]]


async def test_parts_obey_the_pace_too() -> None:
    """What the pace no longer lets start is left unreported."""
    service = Service()
    service.answers["t0"] = Split([[0, 2], [1], [3]])
    reports = await service.send(batch_of(TARGETS[:4]), FreePace(stop_after=2))
    assert sorted(reports.outcomes) == [0, 2]


async def test_targets_that_would_spoil_a_request_are_refused_first() -> None:
    """They are reported without a request."""
    service = Service()
    bad = Outcome(Verdict.REJECTED, "bad")

    def refuse(target: str) -> Outcome | None:
        return bad if target in {"t0", "t7"} else None

    service.shape = replace(service.shape, refuse=refuse)
    reports = await service.send(batch_of(TARGETS))
    assert service.sizes() == [4, 4]
    assert {i for i, one in reports.outcomes.items() if one == bad} == {0, 7}
    nobody = await service.send(batch_of(["t0", "t7"]))
    assert nobody.outcomes == {0: bad, 1: bad}


@pytest.mark.parametrize("validates", [True, False])
async def test_a_dry_run_needs_a_service_that_can_check(validates: bool) -> None:
    """Elsewhere it ends before the request, once the message is known to be JSON."""
    service = Service()
    service.shape = replace(service.shape, validates=validates)
    reports = await service.send(batch_of(TARGETS[:2], validate_only=True))
    assert reports.verdicts() == {Verdict.DELIVERED: 2}
    assert len(service.requests) == validates
    broken = batch_of(["t0"], message=b"{", validate_only=True)
    assert (await service.send(broken)).verdicts() == {Verdict.REJECTED: 1}


async def test_cancelling_ends_all_requests() -> None:
    """A worker that must stop at once leaves none behind."""
    service = Service()
    hold = asyncio.Event()
    begun = asyncio.Event()

    async def exchange(template: JsonTemplate, targets: Sequence[str]) -> Found:
        begun.set()
        await hold.wait()
        return SENT

    reports = Reports()
    sending = asyncio.create_task(
        send_batch(batch_of(TARGETS), reports, FreePace(), service.shape, exchange)
    )
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert reports.outcomes == {}
    assert (await service.send(batch_of(TARGETS))).verdicts() == {Verdict.DELIVERED: 10}
