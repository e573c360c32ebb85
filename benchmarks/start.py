"""How long `tocsin serve` takes from its start to ready, and what it imports.

SQLite, no broker, files that were read before: the first start of each kind is not
counted. A new database is migrated, an old one is looked at.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

from benchmarks.end_to_end import KEY, TOCSIN, usage

WANTED_S = 2.5
DEADLINE_S = 60.0
_POLL_S = 0.002


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start_once(folder: Path) -> tuple[float, float]:
    """Seconds until /ready says 200, and CPU seconds used until then."""
    ports = free_port(), free_port()
    config, log = folder / "tocsin.json", folder / "serve.log"
    config.write_text(
        json.dumps(
            {
                "http_server": {"port": ports[0]},
                "http_api": {"key": KEY},
                "grpc_api": {"port": ports[1], "key": KEY},
                "database": {"sqlite": {"path": str(folder / "tocsin.db")}},
            }
        )
    )
    command = [*TOCSIN, "serve", "--config", str(config)]
    with log.open("wb") as out:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)
    try:
        while not _is_ready(ports[0]):
            if child.poll() is not None or time.perf_counter() - started > DEADLINE_S:
                raise RuntimeError(f"it did not start: {log.read_text()[-2000:]}")
            time.sleep(_POLL_S)
        return time.perf_counter() - started, usage(child.pid).cpu_s
    finally:
        child.terminate()
        child.wait(30)


def _help_once() -> float:
    started = time.perf_counter()
    subprocess.run([*TOCSIN, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def run(rounds: int = 7) -> dict[str, Any]:
    """Medians and the slowest of `rounds`, in seconds."""
    rows: dict[str, list[tuple[float, float]]] = {
        "new database": [],
        "old database": [],
    }
    help_s = []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as name:
            for kind in rows:
                rows[kind].append(start_once(Path(name)))
        help_s.append(_help_once())
    figures = {
        kind: {
            "median_s": statistics.median(wall for wall, _ in runs[1:]),
            "slowest_s": max(wall for wall, _ in runs[1:]),
            "cpu_s": statistics.median(cpu for _, cpu in runs[1:]),
        }
        for kind, runs in rows.items()
    }
    found = figures["old database"]["median_s"]
    return {
        "rounds": rounds,
        "figures": figures,
        "help_s": statistics.median(help_s[1:]),
        "verdicts": [
            {
                "what": "start to ready on SQLite, s",
                "is": found,
                "wanted": f"< {WANTED_S:g}",
                "reached": found < WANTED_S,
            }
        ],
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else 3), indent=2))
