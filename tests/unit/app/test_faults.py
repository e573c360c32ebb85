from __future__ import annotations

import pytest

from tocsin.app.faults import CannotOpen, explain
from tocsin.core.errors import InternalError, QueueUnavailable


@pytest.mark.parametrize("reason", ["", "ConnectionError"])
def test_a_queue_that_is_away_names_its_section(reason: str) -> None:
    """A person must know what to look at; it is no fault of the configuration."""
    explained = explain(QueueUnavailable(reason))
    assert explained is not None
    assert not explained.is_configuration
    assert "push_notifications.queue" in explained.message
    assert reason in explained.message


def test_other_faults() -> None:
    """A known one is told in its own words, an unknown one with its traceback."""
    told = explain(InternalError("the database is away"))
    assert told is not None
    assert told.message.endswith("the database is away")
    assert explain(KeyError("x")) is None


def test_a_drivers_words_lose_what_they_quote() -> None:
    """A host that is the rest of a password, an address, a key."""
    for reason in (
        "cannot open 'redis://u:hun/ter2@h'",
        "bad key sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "-----BEGIN PRIVATE KEY-----\nter2\n-----END PRIVATE KEY-----",
    ):
        told = str(CannotOpen("engine.redis.address", "Redis at h", reason))
        assert told.startswith("cannot start: engine.redis.address: Redis at h: ")
        assert "ter2" not in told
        assert "4eC39HqLyj" not in told
