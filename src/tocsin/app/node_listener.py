"""What the control bus knows of this node: the hub, and what was measured here."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tocsin.core.channel import NodeInfo
from tocsin.core.control import ControlCommand
from tocsin.hub.hub import Hub
from tocsin.telemetry.window import MetricsWindow


class NodeListener:
    """`ControlListener` that adds metrics of the last interval to the hub's answers."""

    def __init__(self, hub: Hub, window: MetricsWindow, *, interval_s: float) -> None:
        self._hub = hub
        self._window = window
        self._interval_s = interval_s

    def run(self, command: ControlCommand) -> None:
        """See the port."""
        self._hub.run(command)

    def answer_survey(self, op: str, params: bytes) -> bytes:
        """See the port."""
        return self._hub.answer_survey(op, params)

    def describe(self) -> NodeInfo:
        """See the port."""
        return replace(
            self._hub.describe(),
            metrics=self._window.items,
            metrics_interval_s=self._interval_s,
        )

    async def turn_for_ever(self) -> None:
        """Begin a new interval whenever one is over."""
        while True:
            await asyncio.sleep(self._interval_s)
            self._window.turn()
