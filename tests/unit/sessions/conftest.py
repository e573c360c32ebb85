from __future__ import annotations

from tests.support.session_nodes import clock, connected, node, wheel

__all__ = ["clock", "connected", "node", "wheel"]
