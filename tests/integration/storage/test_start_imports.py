from __future__ import annotations

import subprocess
import sys


def test_start_up_loads_no_driver_and_no_alembic() -> None:
    """Opening a SQLite file needs neither psycopg nor Alembic."""
    code = (
        "import sys, tocsin.storage.devices, tocsin.storage.migrations\n"
        "import tocsin.queue.sql, tocsin.queue.migrations\n"
        "from tocsin.storage.engine import open_sqlite\n"
        "open_sqlite('x.db')\n"
        "print([m for m in ('psycopg', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
