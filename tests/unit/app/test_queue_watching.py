"""Where a queue is said to be, for logs and to tell a move from a loss."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.app.queue_watching import place_of_queue
from tocsin.config import Config

REDIS = "redis://user:sekret@10.0.0.1:6380/2"
SENTINEL = (
    "redis+sentinel://:sekret@10.0.1.1:26379?sentinel_master_name=main"
    "&addr=10.0.1.2:26379"
)
DSN = "postgresql://user:sekret@db.internal:5433/push"


def place(queue: dict[str, Any], **more: Any) -> str:
    push = {"enabled_providers": ["expo"], "queue": queue}
    return place_of_queue(Config(push_notifications=push, **more))


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ({"redis": {"address": REDIS}}, "Redis at 10.0.0.1:6380 db 2, tocsin"),
        (
            {"redis": {"address": SENTINEL, "prefix": "p"}},
            "Redis at 10.0.1.1:26379 10.0.1.2:26379 main db 0, p",
        ),
        (
            {"type": "postgresql", "postgresql": {"dsn": DSN, "prefix": "x_"}},
            "PostgreSQL at db.internal:5433/push, x_queue_jobs",
        ),
    ],
)
def test_a_place_holds_no_password(queue: dict[str, Any], expected: str) -> None:
    """It goes into the registry and into logs."""
    assert place(queue) == expected


def test_a_new_password_is_no_new_place() -> None:
    """Else data that is lost with it would look like a queue that was moved."""
    other = REDIS.replace("sekret", "other").replace("user", "admin")
    assert place({"redis": {"address": REDIS}}) == place({"redis": {"address": other}})


def test_the_database_of_the_registry_is_a_place() -> None:
    """Also where the queue is in it."""
    found = place({"type": "database"}, database={"postgresql": {"dsn": DSN}})
    assert found == "PostgreSQL at db.internal:5433/push, queue_jobs"
    found = place({"type": "database"}, database={"sqlite": {"path": "t.db"}})
    assert found == "the SQLite file of the registry, queue_jobs"
