from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tocsin.config import Config, ConfigError, load_config
from tocsin.config.api_keys import parse_rate
from tocsin.core.api_methods import API_METHODS
from tocsin.core.rates import RateLimit

HEX = hashlib.sha256(b"one").hexdigest()


class Door:
    """Loads named keys of a door from a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "c.json"

    def load(self, *keys: object, door: str = "http_api", single: str = "") -> Config:
        self._file.write_text(json.dumps({door: {"key": single, "keys": keys}}))
        return load_config(str(self._file), environ={}).config

    def faults(self, *keys: object, **options: Any) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            self.load(*keys, **options)
        return {fault.path: fault.message for fault in caught.value.faults}


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_key_is_given_or_its_hash(door: Door) -> None:
    """Both come to the same digest; without methods and rate nothing is limited."""
    config = door.load(
        {"name": "a", "key": "one"},
        {"name": "b.2_X-", "key_sha256": hashlib.sha256(b"two").hexdigest().upper()},
    )
    one, two = config.http_api.keys
    assert one.digest == HEX
    assert two.digest == hashlib.sha256(b"two").hexdigest()
    assert (one.allowed, one.rate) == (API_METHODS, None)


def test_methods_are_names_of_the_schema_and_patterns(door: Door) -> None:
    """A list, or words, in either spelling."""
    config = door.load({"name": "a", "key": "k", "methods": ["Publish", "presence*"]})
    assert config.http_api.keys[0].allowed == {"publish", "presence", "presence_stats"}
    config = door.load(
        {"name": "a", "key": "k", "methods": "info, RPC"}, door="grpc_api"
    )
    assert config.grpc_api.keys[0].allowed == {"info", "rpc"}


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        (100, RateLimit(100, 1000)),
        ("100", RateLimit(100, 1000)),
        ("100/s", RateLimit(100, 1000)),
        (" 6000/m ", RateLimit(6000, 60_000)),
        ("10 per minute", RateLimit(10, 60_000)),
        ("1000/Hour", RateLimit(1000, 3_600_000)),
        ("", None),
        (None, None),
    ],
)
def test_a_rate(written: object, rate: RateLimit | None) -> None:
    """Calls per second, minute or hour; a bare number is per second."""
    assert parse_rate(written) == rate


@pytest.mark.parametrize(
    "written", ["x", "1/d", "-1", "1.5", 1.5, True, 0, "0/s", "9999999/s", [], "1e3"]
)
def test_what_is_no_rate(written: object) -> None:
    """It says how one is written."""
    with pytest.raises(ValueError, match=r"100/s|from 1 to 1000000"):
        parse_rate(written)


@pytest.mark.parametrize(
    ("key", "path", "words"),
    [
        ({"key": "k"}, "keys[0].name", "must be set"),
        ({"name": "a b", "key": "k"}, "keys[a b].name", "must match"),
        ({"name": "", "key": "k"}, "keys[].name", "must match"),
        ({"name": "a"}, "keys[a]", "must have key or key_sha256, and not both"),
        ({"name": "a", "key": "k", "key_sha256": HEX}, "keys[a]", "and not both"),
        ({"name": "a", "key_sha256": HEX[1:]}, "keys[a].key_sha256", "64 hex digits"),
        ({"name": "a", "key": " "}, "keys[a].key", "is blank"),
        ({"name": "a", "key": "${KEY}"}, "keys[a].key", "placeholder that nothing"),
        ({"name": "a", "key": "k", "rate": "x"}, "keys[a].rate", "100/s"),
        ({"name": "a", "key": "k", "rates": 1}, "keys[a].rates", "is not known"),
        (
            {"name": "a", "key": "k", "methods": ["device_regster", "publsh"]},
            "keys[a].methods",
            (
                "device_regster is no method; did you mean device_register?;"
                " publsh is no method; did you mean publish?"
            ),
        ),
        (
            {"name": "a", "key_sha256": hashlib.sha256(b"").hexdigest()},
            "keys[a].key_sha256",
            "is the SHA-256 of an empty text",
        ),
        ("text", "keys[0]", "must be an object"),
    ],
)
def test_a_wrong_key_is_told_by_its_name(
    key: object, path: str, words: str, door: Door
) -> None:
    """With the place in the list, in both doors, and no value of it."""
    for section in ("http_api", "grpc_api"):
        found = door.faults(key, door=section)
        assert list(found) == [f"{section}.{path}"]
        assert words in found[f"{section}.{path}"]


def test_a_variable_holds_the_list_as_json() -> None:
    """As for every list of objects."""
    environ = {"TOCSIN_HTTP_API_KEYS": '[{"name": "a", "key": "one"}]'}
    (key,) = load_config(None, environ=environ).config.http_api.keys
    assert key.digest == HEX


def test_names_and_keys_are_there_once(door: Door) -> None:
    """Also beside the single key, and whether or not one is hashed."""
    found = door.faults(
        {"name": "a", "key": "x"},
        {"name": "a", "key": "y"},
        {"name": "b", "key": "one"},
        {"name": "c", "key_sha256": HEX},
        {"name": "d", "key": "single"},
        single="single",
    )
    assert found == {
        "http_api.keys[a]": "is the name of 2 keys",
        "http_api.keys[c]": "is the same key as http_api.keys[b]; every name needs its"
        " own",
        "http_api.keys[d]": "is the same key as http_api.key; every name needs its own",
    }


def test_no_key_is_shown(door: Door) -> None:
    """Neither the key nor its hash; logs are told both, to hide them."""
    config = door.load(
        {"name": "a", "key": "hunter2hunter2"}, {"name": "b", "key_sha256": HEX}
    )
    assert "hunter2" not in str(config) + str(config.redacted())
    assert HEX not in str(config) + str(config.redacted())
    assert {"hunter2hunter2", HEX} <= config.secrets()
