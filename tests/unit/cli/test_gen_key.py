from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tocsin.cli.main import main
from tocsin.config import load_config


def test_the_entry_lets_the_key_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds the hash alone, and can be pasted as it is; each key is another."""
    seen = set()
    for _ in range(2):
        assert main(["gen-key", "--name", "billing"]) == 0
        first, second = capsys.readouterr().out.splitlines()
        key = first.removeprefix("key:").strip()
        entry = json.loads(second.removeprefix("entry:"))
        assert key not in second
        assert len(key) > 40
        path = tmp_path / "c.json"
        path.write_text(json.dumps({"http_api": {"keys": [entry]}}))
        (taken,) = load_config(str(path), environ={}).config.http_api.keys
        assert taken.name == "billing"
        assert taken.digest == hashlib.sha256(key.encode()).hexdigest()
        seen.add(key)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [("old", "old is in grpc_api.keys already"), ("a b", "make a name"), ("", "make")],
)
def test_a_name_that_cannot_be_taken(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed that somebody might use."""
    path = tmp_path / "c.json"
    path.write_text('{"grpc_api": {"keys": [{"name": "old", "key": "k"}]}}')
    assert main(["gen-key", "--name", name, "--config", str(path)]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
