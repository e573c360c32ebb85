from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Verdict
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.http1 import Answer
from tocsin.providers.push_webhook import PushWebhookProvider, read_answer


@pytest.mark.parametrize(
    ("status", "body", "message_id"),
    [
        (200, b'{"id": "m-1"}', "m-1"),
        (201, b'{"id": 17}', "17"),
        (204, b"", ""),
        (200, b"OK", ""),
        (202, b'{"id": true}', ""),
        (200, b'{"id": {"a": 1}}', ""),
        (200, json.dumps({"id": "x" * 999}).encode(), "x" * 255),
    ],
)
def test_any_2xx_is_a_success(status: int, body: bytes, message_id: str) -> None:
    """It may name its message; nobody has to write JSON for us."""
    found = read_answer(Answer(status, body), ["a"])
    assert (found.verdict, found.message_id) == (Verdict.DELIVERED, message_id)


@pytest.mark.parametrize(
    ("status", "verdict", "slow_down"),
    [
        (301, Verdict.MISCONFIGURED, True),
        (400, Verdict.REJECTED, False),
        (401, Verdict.MISCONFIGURED, True),
        (403, Verdict.MISCONFIGURED, True),
        (404, Verdict.MISCONFIGURED, False),
        (410, Verdict.MISCONFIGURED, False),
        (405, Verdict.MISCONFIGURED, True),
        (408, Verdict.RETRY, False),
        (413, Verdict.REJECTED, False),
        (422, Verdict.REJECTED, False),
        (425, Verdict.RETRY, False),
        (429, Verdict.RETRY, True),
        (500, Verdict.RETRY, False),
        (507, Verdict.RETRY, False),
    ],
)
def test_other_statuses(status: int, verdict: Verdict, slow_down: bool) -> None:
    """One recipient's 404 does not hold up the others; no status removes a device."""
    found = read_answer(Answer(status, b'{"message": "no tok-1"}'), ["tok-1"])
    assert (found.verdict, found.slow_down) == (verdict, slow_down)
    assert found.detail == f"{status} no <target>"


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"url": "", "secret": "s"}, "push_notifications.push_webhook.url"),
        (
            {"url": "https://x/y", "secret": ""},
            "push_notifications.push_webhook.secret",
        ),
    ],
)
def test_both_settings_are_needed(given: dict[str, Any], key: str) -> None:
    """An unsigned webhook is not sent."""
    with pytest.raises(ProviderSetupError) as caught:
        PushWebhookProvider(**given)
    assert caught.value.key == key
