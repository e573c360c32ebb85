"""The published keys of channels, clients, transports and the engine."""

import csv
from pathlib import Path

import pytest

from tocsin.config import names
from tocsin.config.durations import parse_duration
from tocsin.config.root import built

TABLE = Path(__file__).parents[2] / "data" / "published_realtime_keys.csv"
KINDS = {
    "bool": ("bool", "false"),
    "int": ("int", "0"),
    "int64": ("int", "0"),
    "string": ("string", ""),
    "PEMData": ("string", ""),
    "Duration": ("duration", "0s"),
    "DeltaType": ("list", "[]"),
    "[]string": ("list", "[]"),
}
# What the page says in words, and what the published default of 0 stands for.
IN_WORDS = {
    "engine.redis.address": "redis://127.0.0.1:6379",
    "channel.without_namespace.history_meta_ttl": "channel.history_meta_ttl",
    "channel.without_namespace.force_recovery_mode": "stream",
    "channel.without_namespace.subscription_type": "stream",
    "node.name": "host_port",
    "uni_grpc.max_receive_message_size": "4194304",
}


def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["path"])
def test_a_published_key_has_its_type_and_default(row: dict[str, str]) -> None:
    """Or it is known and not built, which is said at the start."""
    leaf = built().get(row["path"])
    if leaf is None:
        assert row["path"] in names.known()
        return
    kind, empty = KINDS.get(row["type"], ("list", "[]"))
    assert leaf.kind in (kind, f"string or {kind}")
    expected = IN_WORDS.get(row["path"], row["default"] or empty)
    if kind == "duration" and row["path"] not in IN_WORDS:
        assert parse_duration(leaf.default) == parse_duration(expected)
    else:
        assert leaf.default == expected
