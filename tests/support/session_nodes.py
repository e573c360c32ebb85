"""Fixtures: what sessions share, on time that stands still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.clock import MovedClock
from tests.support.realtime import build_context
from tests.support.sessions import ManualWheel, SessionClient

from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def wheel(clock: MovedClock) -> ManualWheel:
    return ManualWheel(clock)


@pytest.fixture
def node(clock: MovedClock, wheel: ManualWheel) -> Callable[..., Context]:
    """Builds what sessions share, on time that stands still."""

    def build(
        settings: SessionSettings | None = None, insecure: bool = True, **parts: Any
    ) -> Context:
        return build_context(
            settings or SessionSettings(insecure=insecure),
            clock=clock,
            wheel=wheel,
            **parts,
        )

    return build


@pytest.fixture
async def connected(node: Callable[..., Context]) -> SessionClient:
    """An anonymous client of an open node."""
    client = SessionClient(node())
    await client.connect()
    return client
