from __future__ import annotations

import pytest

from tocsin.app.faults import explain
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
