"""The provider imitation as a witness: which recipient got which send, how often."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.faults import Fault
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.server import Simulator

Pair = tuple[str, str]
"""The name of a send, as its message carries it, and a token."""

REJECTED = frozenset({Fault.BAD_PAYLOAD, Fault.TOO_BIG})
"""Answers about the message: it ends in the dead letters."""
_FINAL = REJECTED | {Fault.DEAD, Fault.BAD_TOKEN, Fault.BAD_FIELD, Fault.MISMATCH}


class WitnessLedger(Ledger):
    """A ledger by pairs; `asked` is the pair of the request that is being answered.

    `refused` has the last answer of each pair that says no for good.
    """

    def clear(self) -> None:
        super().clear()
        self.asked: Pair = ("", "")
        self.got: Counter[Pair] = Counter()
        self.refused: dict[Pair, str] = {}

    def count(self, answer: str) -> None:
        super().count(answer)
        if answer in _FINAL:
            self.refused[self.asked] = answer

    def deliver(self, target: str) -> None:
        super().deliver(target)
        self.got[self.asked] += 1


class Witness(Simulator):
    """An imitation whose ledger knows sends."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.witnessed = WitnessLedger()
        self.ledger = self.witnessed

    def answer(self, request: Request) -> Reply:
        """As the imitation; a message is read beforehand."""
        if request.path.endswith(":send"):
            message = orjson.loads(request.body)["message"]
            self.witnessed.asked = (message["data"]["of"], message["token"])
        return super().answer(request)
