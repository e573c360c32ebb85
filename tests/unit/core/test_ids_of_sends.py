"""Ids of sends."""

from __future__ import annotations

import time
import uuid

from tocsin.core.ids import new_send_id, send_ids_from


def test_send_ids_sort_by_time() -> None:
    """As text, and so that all of one time can be named by a bound."""
    before_ms = time.time_ns() // 1_000_000
    ids = [new_send_id() for _ in range(200)]
    after_ms = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    assert send_ids_from(before_ms) <= min(ids)
    assert max(ids) < send_ids_from(after_ms + 1)
    assert send_ids_from(-5) == send_ids_from(0) == str(uuid.UUID(int=0))
