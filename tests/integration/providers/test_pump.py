"""Batches that share connections: whose requests go out first."""

from __future__ import annotations

import asyncio

from tests.support.h2_server import serve_h2
from tests.support.http2_client import eventually, head_for, pool_for

from tocsin.core.lanes import Priority
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.http2 import Failure, RequestHead, Response
from tocsin.providers.pump import Pump


class AlwaysReady:
    """A pace that lets everything through."""

    def ready(self) -> bool:
        return True

    async def wait(self) -> bool:
        return True


class Noted:
    """One batch: notes in `order` when each of its requests is made."""

    def __init__(self, name: str, head: RequestHead, order: list[str]) -> None:
        self.name, self.head, self.order = name, head, order

    def build(self, _: int) -> tuple[RequestHead, bytes] | Outcome:
        self.order.append(self.name)
        return self.head, b"body"

    def read(self, _: int, __: Response, *, renewed: bool) -> Outcome | None:
        return DELIVERED

    def read_failure(self, failure: Failure) -> Outcome:
        return Outcome(Verdict.RETRY, failure.kind.value)

    async def renew(self) -> Outcome | None:
        return None


async def test_an_urgent_batch_passes_those_under_way() -> None:
    """It has nearly all turns while it lasts; then the others go on to their end."""
    order: list[str] = []
    ends: list[tuple[str, Outcome]] = []
    async with (
        serve_h2() as server,
        pool_for(server.origin, max_connections=1, max_streams=2) as pool,
    ):
        head = head_for(server.origin)

        async def send(name: str, count: int, priority: Priority) -> None:
            def report(_: int, outcome: Outcome) -> None:
                ends.append((name, outcome))

            batch = Noted(name, head, order)
            pace = AlwaysReady()
            await Pump(pool, batch, range(count), report, pace, priority).finish()

        bulk = [
            asyncio.create_task(send(name, 200, Priority.BULK)) for name in ("a", "b")
        ]
        await eventually(lambda: len(order) > 20)
        before = len(order)
        await send("t", 30, Priority.TRANSACTIONAL)
        during = order[before : len(order) - order[::-1].index("t")]
        await asyncio.gather(*bulk)
    assert during.count("t") == 30
    assert len(during) <= 40, during
    assert len(order) == len(ends) == 430
    assert {outcome for _, outcome in ends} == {DELIVERED}
