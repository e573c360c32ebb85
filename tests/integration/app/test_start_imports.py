from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Each of these costs a start a tenth of a second or more, and is for some only.
_NOT_NEEDED = (
    "aioapns",
    "alembic",
    "clickhouse_connect",
    "cryptography",
    "firebase_admin",
    "google.auth",
    "jwt",
    "psycopg",
    "redis",
    "requests",
    "yaml",
)
_START = """
import asyncio, sys
from contextlib import AsyncExitStack
from tocsin.app.lifecycle import Stopper
from tocsin.app.server import start_server
from tocsin.config import load_config

async def start(path):
    async with AsyncExitStack() as stack:
        await start_server(load_config(path, environ={}).config, stack, Stopper())

asyncio.run(start(sys.argv[1]))
print(*(name for name in sys.argv[2:] if name in sys.modules), sep=",")
"""


def _loaded(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _START, str(path), *_NOT_NEEDED],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.splitlines()[-1]


def test_a_start_loads_only_what_it_uses(tmp_path: Path) -> None:
    """On SQLite that is up to date, drivers, SDKs and migrations stay unloaded."""
    path = tmp_path / "tocsin.json"
    here = {"address": "127.0.0.1", "port": 0}
    path.write_text(
        json.dumps(
            {
                "http_server": here,
                "grpc_api": {**here, "key": "k"},
                "http_api": {"key": "k"},
                "database": {"sqlite": {"path": str(tmp_path / "tocsin.db")}},
            }
        )
    )
    _loaded(path)  # the tables are made
    assert _loaded(path) == ""
