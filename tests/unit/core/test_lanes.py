from __future__ import annotations

import pytest

from tocsin.core.lanes import (
    LaneChoice,
    Priority,
    QueuePlace,
    parse_queue_name,
    queue_name,
    queue_names,
    retry_queue,
)

BULK, NORMAL, TRANSACTIONAL = Priority.BULK, Priority.NORMAL, Priority.TRANSACTIONAL


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (QueuePlace("send", "fcm"), "send:fcm"),
        (QueuePlace("expand", "fcm", BULK), "expand:fcm:bulk"),
        (QueuePlace("send", "one-signal", NORMAL, True), "send:one-signal:retry"),
        (
            QueuePlace("send", "fcm", TRANSACTIONAL, True),
            "send:fcm:transactional:retry",
        ),
    ],
)
def test_names_say_the_place_and_the_place_the_name(
    place: QueuePlace, name: str
) -> None:
    """The normal lane is named as its queue was before there were lanes."""
    made = queue_name(
        place.stage, place.provider, place.priority, is_retry=place.is_retry
    )
    assert made == name
    assert parse_queue_name(name) == place


def test_words_of_a_newer_release_change_no_more_than_they_must() -> None:
    """The rest of the name is understood, so that a letter can be shown."""
    assert parse_queue_name("send:fcm:bulk:odd") == QueuePlace("send", "fcm", BULK)
    assert parse_queue_name("odd") == QueuePlace("odd", "")


def test_all_queues_of_a_provider_are_named_once() -> None:
    """The most urgent first; each lane has its walks, its batches and its retries."""
    names = queue_names("fcm")
    assert len(set(names)) == len(names) == 9
    assert names[:3] == [
        "expand:fcm:transactional",
        "send:fcm:transactional",
        "send:fcm:transactional:retry",
    ]
    assert queue_names("fcm", [BULK]) == names[6:]
    assert retry_queue("send:fcm:bulk") == "send:fcm:bulk:retry"
    assert retry_queue("send:fcm:retry") == "send:fcm:retry"


@pytest.mark.parametrize(
    ("texts", "taken"),
    [
        ((), {"fcm bulk", "fcm normal", "apns bulk", "apns normal"}),
        (("bulk",), {"fcm bulk", "apns bulk"}),
        (("fcm",), {"fcm bulk", "fcm normal"}),
        (("fcm:bulk", "apns:normal"), {"fcm bulk", "apns normal"}),
    ],
)
def test_a_choice_takes_what_it_names(texts: tuple[str, ...], taken: set[str]) -> None:
    """By priority, by provider or by both; nothing else, and all without a choice."""
    choice = LaneChoice(texts)
    found = {
        f"{provider} {priority}"
        for provider in ("fcm", "apns")
        for priority in (BULK, NORMAL)
        if choice.takes(provider, priority)
    }
    assert found == taken


@pytest.mark.parametrize(
    "text", ["", "Bulk", "gcm", "gcm:bulk", "fcm:odd", "bulk:fcm", "fcm:", ":bulk"]
)
def test_what_names_no_lane_is_found(text: str) -> None:
    """It would leave a worker without work."""
    assert LaneChoice(("bulk", text, "fcm:bulk")).find_unknown(["fcm"]) == text
    assert LaneChoice(("bulk", "fcm", "fcm:bulk")).find_unknown(["fcm"]) is None
