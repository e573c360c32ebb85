"""Fixtures of the system tests: the simulator, the client, the processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.published_client import PublishedClient
from tests.support.simulated_fcm import simulator_in_thread
from tests.support.tocsin_processes import Processes

from tocsin.simulator.server import Simulator


@pytest.fixture(scope="session")
def published_client(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PublishedClient]:
    """A client generated from the published table alone."""
    with PublishedClient.start(tmp_path_factory.mktemp("published")) as client:
        yield client


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A local FCM with its CA and service account."""
    directory = tmp_path / "fcm"
    directory.mkdir()
    with simulator_in_thread(directory) as simulator:
        yield simulator


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts `tocsin` processes and ends them with the test."""
    with Processes(tmp_path) as processes:
        yield processes
