from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.push import Body
from tocsin.providers.apns_message import find_path, headers_for, names_topic

TOPIC = "com.example.app"


def headers(
    payload: Any, given: dict[str, str] | None = None, *, deadline_ms: int = 0
) -> dict[str, str]:
    body = Body(json.dumps(payload).encode(), given or {})
    found = headers_for(body, topic=TOPIC, deadline_ms=deadline_ms)
    assert isinstance(found, dict), found
    return found


def test_an_alert_needs_no_header() -> None:
    """Topic and push type are put in; Apple's own defaults do for the rest."""
    assert headers({"aps": {"alert": "x"}}) == {
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
    }


def test_a_payload_that_only_wakes_the_app() -> None:
    """It is a background push of priority 5, else Apple refuses or delays it."""
    found = headers({"aps": {"content-available": 1}, "data": 1})
    assert (found["apns-push-type"], found["apns-priority"]) == ("background", "5")


@pytest.mark.parametrize(
    "aps",
    [
        {"content-available": 1, "alert": "x"},
        {"content-available": 1, "sound": "x"},
        {"content-available": 1, "badge": 0},
        {"content-available": 0},
        {"mutable-content": 1, "alert": {}},
        None,
        "text",
    ],
)
def test_whatever_shows_or_sounds_is_an_alert(aps: Any) -> None:
    """Also what Apple itself has to judge."""
    found = headers({"aps": aps})
    assert found["apns-push-type"] == "alert"
    assert "apns-priority" not in found


def test_given_headers_win() -> None:
    """In any case; what depends on them follows them."""
    given = {"Apns-Push-Type": "alert", "apns-priority": "1", "APNS-TOPIC": "other"}
    found = headers({"aps": {"content-available": 1}}, given, deadline_ms=5_000)
    assert found == {
        "apns-push-type": "alert",
        "apns-priority": "1",
        "apns-topic": "other",
        "apns-expiration": "5",
    }


@pytest.mark.parametrize(
    ("push_type", "suffix"),
    [
        ("voip", ".voip"),
        ("complication", ".complication"),
        ("fileprovider", ".pushkit.fileprovider"),
        ("location", ".location-query"),
        ("liveactivity", ".push-type.liveactivity"),
        ("pushtotalk", ".voip-ptt"),
        ("widgets", ".push-type.widgets"),
        ("controls", ".push-type.controls"),
        ("mdm", ""),
        ("alert", ""),
        ("background", ""),
    ],
)
def test_a_push_type_has_its_topic(push_type: str, suffix: str) -> None:
    """Apple wants the bundle id with a suffix for most of them."""
    found = headers({"aps": {}}, {"apns-push-type": push_type})
    assert found["apns-topic"] == TOPIC + suffix


def test_the_end_of_a_push_is_apples_too() -> None:
    """What expires here is not kept there longer; a given expiration stands."""
    assert headers({}, deadline_ms=1_900_000_000_999)["apns-expiration"] == "1900000000"
    given = {"apns-expiration": "0"}
    assert headers({}, given, deadline_ms=1_900_000_000_999)["apns-expiration"] == "0"
    # 0 would mean "deliver at once or never".
    assert headers({}, deadline_ms=1)["apns-expiration"] == "1"


@pytest.mark.parametrize("message", [b"{", b"[]", b"", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_rejected(message: bytes) -> None:
    """Nobody can be sent it, now or later."""
    found = headers_for(Body(message), topic=TOPIC)
    assert isinstance(found, Outcome)
    assert (found.verdict, found.code) == (Verdict.REJECTED, "invalid_message")


def test_a_header_that_apple_refuses_is_rejected() -> None:
    """A payload stored by an older release may still hold one."""
    found = headers_for(Body(b"{}", {"apns-foo": "1"}), topic=TOPIC)
    assert isinstance(found, Outcome)
    assert (found.verdict, found.code) == (Verdict.REJECTED, "invalid_header")


def test_a_message_may_name_its_topic() -> None:
    """Then a wrong topic is its own fault."""
    assert names_topic(Body(b"{}", {"Apns-Topic": "x"}))
    assert not names_topic(Body(b"{}", {"apns-id": "x"}))


@pytest.mark.parametrize(
    ("token", "path"),
    [
        ("00FFab", "/3/device/00FFab"),
        ("a/../b?c#d e", "/3/device/a%2F..%2Fb%3Fc%23d%20e"),
        ("ü\r\n", "/3/device/%C3%BC%0D%0A"),
        ("\u0661", "/3/device/%D9%A1"),
    ],
)
def test_a_token_is_one_segment(token: str, path: str) -> None:
    """Whatever was registered as one cannot leave its place in the path."""
    assert find_path(token) == path
