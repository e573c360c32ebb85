from __future__ import annotations

import pytest

from tocsin.core.apns import PUSH_TYPES, parse_headers, payload_limit
from tocsin.core.push_services import InvalidHeader

GOOD = {
    "Apns-Topic": "com.example.app.voip",
    "apns-push-type": "voip",
    "APNS-PRIORITY": "10",
    "apns-expiration": "0",
    "apns-collapse-id": "order 7, été",
    "apns-id": "123E4567-e89b-12d3-a456-426655440000",
}


def test_names_are_lowered_and_values_kept() -> None:
    """Whatever case the caller wrote, one spelling goes out."""
    parsed = parse_headers(GOOD)
    assert list(parsed.values()) == list(GOOD.values())
    assert all(name.islower() for name in parsed)


@pytest.mark.parametrize("push_type", PUSH_TYPES)
def test_every_push_type_passes(push_type: str) -> None:
    """All that Apple names, the newest too."""
    assert parse_headers({"apns-push-type": push_type})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("apns-expiration", "0" * 13),
        ("apns-expiration", "253402300800"),
        ("apns-expiration", "\u0661"),
        ("apns-id", "123e4567e89b12d3a456426655440000"),
        ("apns-id", "{123e4567-e89b-12d3-a456-426655440000}"),
        ("apns-topic", ""),
        ("apns-topic", "x" * 256),
        ("apns-collapse-id", " x"),
        ("apns-collapse-id", "ü" * 33),
        ("apns-channel-id", "x"),
        ("authorization", "bearer x"),
    ],
)
def test_what_apple_would_refuse(name: str, value: str) -> None:
    """The error names the header as it was written, and says what would do."""
    with pytest.raises(InvalidHeader) as caught:
        parse_headers({name.title(): value})
    assert caught.value.name == name.title()
    assert caught.value.reason


@pytest.mark.parametrize("priority", ["1", "5"])
def test_a_background_push_may_be_of_low_priority(priority: str) -> None:
    """Only 10 is an error for it."""
    headers = {"apns-push-type": "background", "apns-priority": priority}
    assert parse_headers(headers) == headers


def test_calls_have_larger_payloads() -> None:
    """5120 bytes, everything else 4096."""
    assert payload_limit({}) == payload_limit({"apns-push-type": "alert"}) == 4096
    assert payload_limit({"Apns-Push-Type": "voip"}) == 5120
