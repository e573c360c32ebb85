"""The control bus of a single node: it talks to itself.

Part of the broker room; it runs nothing, the listener does.
"""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.core.channel import NodeInfo
from tocsin.core.control import ControlCommand
from tocsin.core.ports.channels import ControlListener


class MemoryControlBus:
    """`ControlBus` where this node is the only one."""

    def __init__(self, node: str) -> None:
        """`node` is the uid by which clients of emulation transports name it."""
        self._node = node
        self._listener: ControlListener | None = None

    def listen(self, listener: ControlListener) -> None:
        """See the port."""
        self._listener = listener

    async def start(self) -> None:
        """Nobody is there to be told."""

    async def broadcast(self, command: ControlCommand) -> None:
        """See the port."""
        self._listening().run(command)

    async def survey(
        self, op: str, params: bytes, *, timeout_s: float = 10.0
    ) -> Sequence[bytes]:
        """See the port; the only answer is there at once."""
        del timeout_s
        return [self._listening().answer_survey(op, params)]

    async def send_to_node(self, node: str, op: str, params: bytes) -> bool:
        """See the port."""
        if node != self._node:
            return False
        self._listening().answer_survey(op, params)
        return True

    async def fetch_nodes(self) -> Sequence[NodeInfo]:
        """See the port."""
        return [self._listening().describe()]

    async def close(self) -> None:
        """Nobody is there to be told."""

    def _listening(self) -> ControlListener:
        if self._listener is None:
            raise RuntimeError("listen() comes before any use of the control bus")
        return self._listener
