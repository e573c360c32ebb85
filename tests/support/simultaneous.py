"""Several Python processes that start the same work at the same moment."""

from __future__ import annotations

import subprocess
import sys


def run_together(code: str, *arguments: str, count: int) -> list[str]:
    """Run `code` in `count` processes; returns what each of them printed.

    The code shall import what it needs and then read stdin to its end, which
    comes for all of them when all are started. A failed one fails the test.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return outputs
