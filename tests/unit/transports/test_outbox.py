from __future__ import annotations

import asyncio

from tocsin.hub.turn import Turn
from tocsin.transports.outbox import Outbox


class Edge(Outbox):
    """An outbox whose edge can be blocked by the test."""

    __slots__ = ("overflows", "sent")

    def __init__(self, turn: Turn, limit: int) -> None:
        super().__init__(turn, limit)
        self.sent: list[bytes] = []
        self.overflows = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def overflow(self) -> None:
        self.overflows += 1


async def test_a_turn_is_one_piece() -> None:
    """Writes of one turn go down together, at its end."""
    edge = Edge(Turn(), 100)
    edge.write(b"a")
    edge.write(b"b")
    assert edge.sent == []
    await asyncio.sleep(0)
    assert edge.sent == [b"ab"]


async def test_a_burst_is_written_early_not_cut_off() -> None:
    """An edge that takes its bytes is never too slow, however much comes at once."""
    edge = Edge(Turn(), 100)
    for _ in range(50):
        edge.write(b"x" * 30)
    await asyncio.sleep(0)
    assert b"".join(edge.sent) == b"x" * 1500
    assert len(edge.sent) < 20
    assert edge.overflows == 0


async def test_a_blocked_edge_overflows_once() -> None:
    """Bytes of a blocked edge wait up to the limit, then are dropped."""
    edge = Edge(Turn(), 100)
    edge.is_blocked = True
    edge.held = 50
    edge.write(b"x" * 40)
    await asyncio.sleep(0)
    assert edge.sent == []
    assert edge.overflows == 0
    edge.write(b"x" * 20)
    assert edge.overflows == 1
    edge.is_shut = True
    for _ in range(10):
        edge.write(b"x" * 60)
    edge.is_blocked = False
    edge.flush()
    assert edge.sent == []
    assert edge.overflows == 1


async def test_after_blocking_everything_goes_down_in_order() -> None:
    """What waited is written when the edge takes bytes again."""
    edge = Edge(Turn(), 100)
    edge.is_blocked = True
    edge.write(b"a")
    edge.write(b"b")
    edge.is_blocked = False
    edge.flush()
    edge.write(b"c")
    await asyncio.sleep(0)
    assert edge.sent == [b"ab", b"c"]
