"""Engines for the queue's integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.job_queues import ENGINES, QueueBackend, backend_for


@pytest.fixture(params=ENGINES)
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """Each engine in turn."""
    async for backend in backend_for(request, request.param, tmp_path):
        yield backend


@pytest.fixture
async def redis_backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """Redis alone."""
    async for backend in backend_for(request, "redis", tmp_path):
        yield backend


@pytest.fixture(params=["postgresql", "sqlite"])
async def sql_backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """Each database in turn."""
    async for backend in backend_for(request, request.param, tmp_path):
        yield backend


@pytest.fixture
async def postgres_backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """PostgreSQL alone."""
    async for backend in backend_for(request, "postgresql", tmp_path):
        yield backend
