"""The configuration keys of Tocsin that lead to a running simulator."""

from __future__ import annotations

from typing import Any

from tocsin.core.push_services import SERVICES
from tocsin.simulator.server import Simulator


def push_notifications(simulator: Simulator) -> dict[str, Any]:
    """The section `push_notifications` with every imitated service, paths absolute."""
    settings = simulator.settings()
    return {
        "enabled_providers": list(settings),
        **{SERVICES[name].section: keys for name, keys in settings.items()},
    }
