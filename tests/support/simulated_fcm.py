"""The simulator in a test: started, asked and told over its own control endpoint."""

from __future__ import annotations

import asyncio
import functools
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tocsin.simulator.server import Simulator
from tocsin.simulator.service_account import prepare_service_account


@asynccontextmanager
async def running_simulator(
    directory: Path,
    *,
    port: int = 0,
    fast: bool = False,
    kind: type[Simulator] = Simulator,
) -> AsyncIterator[Simulator]:
    """A simulator on loopback, stopped at the end."""
    account = directory / "service-account.json"
    if not account.exists():
        account.write_bytes(_account_with_key())
    simulator = kind(directory, port=port, fast=fast)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@dataclass
class Switch:
    """A simulator that can go away and come back on its port, with its ledger."""

    simulator: Simulator
    _loop: asyncio.AbstractEventLoop

    def off(self) -> None:
        """Close the port and every connection, as a provider that is down."""
        self.run(self.simulator.stop())

    def on(self) -> None:
        """Listen again; access tokens of before are worth nothing now."""
        self.run(self.simulator.start())

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        """Run this in the simulator's thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(what, self._loop).result(20)


@contextmanager
def switchable_simulator(
    directory: Path, *, port: int = 0, kind: type[Simulator] = Simulator
) -> Iterator[Switch]:
    """A simulator in a thread of its own; only one with a `port` can come back."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator")
    thread.start()
    context = running_simulator(directory, port=port, kind=kind)
    try:
        entering = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop)
        yield Switch(entering.result(20), loop)
        leaving = context.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@contextmanager
def simulator_in_thread(directory: Path) -> Iterator[Simulator]:
    """A simulator for clients that block their own event loop."""
    with switchable_simulator(directory) as switch:
        yield switch.simulator


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


@functools.cache
def _account_with_key() -> bytes:
    """An account file whose key the simulator keeps: making one takes a while."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "account.json"
        prepare_service_account(file, "https://unused.invalid/token")
        return file.read_bytes()
