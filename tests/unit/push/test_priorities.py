from __future__ import annotations

from typing import Any

import pytest

from tocsin.core.device import DeviceFilter, ProviderTokens
from tocsin.core.lanes import Priority
from tocsin.core.push import Body, RawRecipient, SendRequest, TargetKind
from tocsin.push.priorities import FEW, priority_of

BULK, NORMAL, TRANSACTIONAL = Priority.BULK, Priority.NORMAL, Priority.TRANSACTIONAL


def texts(count: int) -> tuple[str, ...]:
    return tuple(f"n{number}" for number in range(count))


def tokens(*counts: int) -> tuple[ProviderTokens, ...]:
    return tuple(ProviderTokens("fcm", texts(count)) for count in counts)


def raw(kind: TargetKind, count: int = 1) -> RawRecipient:
    return RawRecipient("fcm", kind, texts(count))


@pytest.mark.parametrize(
    ("recipient", "priority"),
    [
        (raw(TargetKind.TOKEN), TRANSACTIONAL),
        (raw(TargetKind.TOKEN, FEW), TRANSACTIONAL),
        (raw(TargetKind.TOKEN, FEW + 1), NORMAL),
        (raw(TargetKind.TOPIC), NORMAL),
        (raw(TargetKind.CONDITION), NORMAL),
        (DeviceFilter(ids=texts(1)), TRANSACTIONAL),
        (DeviceFilter(users=texts(FEW)), TRANSACTIONAL),
        (DeviceFilter(users=texts(FEW + 1)), NORMAL),
        (DeviceFilter(provider_tokens=tokens(FEW - 1, 1)), TRANSACTIONAL),
        (DeviceFilter(provider_tokens=tokens(FEW, 1)), NORMAL),
        # All lists must match, so the shortest one bounds the recipients.
        (DeviceFilter(users=texts(1), topics=("t",)), TRANSACTIONAL),
        (DeviceFilter(ids=texts(50), users=texts(1)), TRANSACTIONAL),
        (DeviceFilter(topics=("t",)), BULK),
        (DeviceFilter(tags={"a": "b"}), BULK),
        (DeviceFilter(platforms=("ios",), providers=("fcm",)), BULK),
    ],
)
def test_without_a_priority_the_recipient_decides(
    recipient: Any, priority: Priority
) -> None:
    """By how many it names; one that names nobody may mean everybody."""
    request = SendRequest(recipient, {"fcm": Body(b"{}")})
    assert priority_of(request) is priority


@pytest.mark.parametrize("given", list(Priority))
def test_the_caller_s_word_counts(given: Priority) -> None:
    """Whomever it is for."""
    for recipient in (raw(TargetKind.TOKEN), DeviceFilter(topics=("t",))):
        request = SendRequest(recipient, {"fcm": Body(b"{}")}, priority=given)
        assert priority_of(request) is given
