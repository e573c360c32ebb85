from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("code", "failed"), [(0, False), (1, True)])
def test_a_task_that_does_not_end_keeps_no_process(code: int, failed: bool) -> None:
    """The log names it, and the exit code is the right one."""
    script = f"""
import asyncio
from tocsin.app import lifecycle

async def stay():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

async def main(stopper):
    main.task = asyncio.create_task(stay())
    await asyncio.sleep(0)
    stopper.failed = {failed}
    return 0

lifecycle.LEFTOVERS_S = 0.1
raise SystemExit(lifecycle.run(main))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "ended with tasks that do not end" in done.stdout
    assert "stay" in done.stdout
