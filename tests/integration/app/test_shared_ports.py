from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog

from tocsin.app.realtime import open_realtime
from tocsin.config import Config
from tocsin.core.clock import SystemClock
from tocsin.telemetry.metrics import Metrics


@pytest.mark.parametrize("door", ["http_server", "grpc_api", "uni_grpc"])
@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_shared_port_with_channels_in_memory_is_told(
    door: str, *, is_shared: bool
) -> None:
    """Processes on one port whose channels are their own are warned of at start."""
    sections: dict[str, Any] = {door: {"reuse_port": is_shared}}
    config = Config.model_validate(sections)
    with structlog.testing.capture_logs() as logs:
        async with AsyncExitStack() as stack:
            await open_realtime(config, Metrics(), SystemClock(), stack)
    warned = [line for line in logs if line["event"].startswith("reuse_port is on")]
    assert len(warned) == is_shared
