"""The page about connecting clients: its configuration and tokens as they stand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.wire_table import ROOT

GUIDE = (ROOT / "docs" / "howto" / "connect-clients.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The guide's key is to be replaced, and is said to be.
    lines = [x for x in done.stdout.splitlines() if "value of an example" not in x]
    assert "WARN" not in "".join(lines).upper()
    return done.stdout


def test_the_tokens_are_good_under_the_configuration(tmp_path: Path) -> None:
    """What the example signs is what `check-token` reads."""
    alone, shared = (json.loads(block) for block in blocks("json"))
    (tmp_path / "c.json").write_text(json.dumps(alone | shared))
    run(tmp_path, "-m", "tocsin.cli.main", "check-config", "--config", "c.json")
    (script,) = blocks("python")
    connection, subscription = run(
        tmp_path, "-W", "error", "-c", script.strip()
    ).split()
    check = ("-m", "tocsin.cli.main", "check-token", "--config", "c.json")
    assert json.loads(run(tmp_path, *check, connection))["user"] == "anna"
    claims = json.loads(run(tmp_path, *check, "--subscription", subscription))
    assert claims["channel"] == "chat:room-1"


def test_the_limits_are_the_defaults(tmp_path: Path) -> None:
    """Every key of the table is known, with the default that stands there."""
    reference = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    for key, default in (
        ("client.channel_limit", "128"),
        ("client.queue_max_size", "1048576"),
        ("websocket.message_size_limit", "65536"),
        ("client.connection_limit", "0"),
        ("client.user_connection_limit", "0"),
    ):
        assert f"| `{key}` |" in GUIDE
        row = re.search(rf"^\| `{re.escape(key)}` \|.*$", reference, re.MULTILINE)
        assert row is not None, key
        assert f"| `{default}` |" in row.group(0)
