"""The simulator in a test: started, asked and told over its own control endpoint."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tocsin.simulator.server import Simulator


@asynccontextmanager
async def running_simulator(
    directory: Path, *, fast: bool = False
) -> AsyncIterator[Simulator]:
    """A simulator on a free port, stopped at the end."""
    simulator = Simulator(directory, fast=fast)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


def client_of(simulator: Simulator, *, http2: bool = True) -> httpx.AsyncClient:
    """Somebody else's HTTP client that trusts the simulator's CA."""
    context = ssl.create_default_context(cafile=simulator.ca_file)
    return httpx.AsyncClient(
        base_url=simulator.origin, http2=http2, verify=context, trust_env=False
    )


async def control(simulator: Simulator, **faults: Any) -> dict[str, Any]:
    """Tell the control endpoint what shall go wrong."""
    async with client_of(simulator) as client:
        answer = await client.post("/control/faults", json=faults)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told
