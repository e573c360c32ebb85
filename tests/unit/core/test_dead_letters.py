from __future__ import annotations

from dataclasses import replace

import pytest

from tocsin.core.dead_letters import LetterFilter, LetterHead, group_of

HEAD = LetterHead(
    id="7",
    reason="retries exhausted: unavailable: 503 from the provider",
    at_ms=1000,
    push_id="p",
    uid="u",
    stage="send",
    provider="fcm",
)


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("payload_rejected", "payload_rejected"),
        ("payload_rejected: title: too long", "payload_rejected"),
        ("retries exhausted: unavailable", "retries exhausted: unavailable"),
        ("retries exhausted: unavailable: 503", "retries exhausted: unavailable"),
        ("retries exhausted", "retries exhausted"),
        ("handed out 10 times without an end", "poison"),
        ("undecodable: not a job: broken", "undecodable"),
        ("", ""),
    ],
)
def test_letters_of_one_cause_share_a_group(reason: str, group: str) -> None:
    """What a provider said to one batch alone stays out of the group's name."""
    assert group_of(reason) == group


@pytest.mark.parametrize(
    "chosen",
    [
        LetterFilter(),
        LetterFilter(reasons=("x", "retries exhausted: unavailable")),
        LetterFilter(reasons=("retries exhausted",)),
        LetterFilter(providers=("apns", "fcm"), uids=("u",)),
        LetterFilter(integrations=("fcm",)),
        LetterFilter(push_ids=("p",), since_ms=1000, until_ms=1001),
    ],
)
def test_a_letter_that_is_meant(chosen: LetterFilter) -> None:
    """Any of a list fits, all lists together."""
    assert chosen.fits(HEAD)


@pytest.mark.parametrize(
    "chosen",
    [
        LetterFilter(reasons=("unavailable",)),
        LetterFilter(providers=("fcm",), uids=("other",)),
        LetterFilter(integrations=("shop",)),
        LetterFilter(push_ids=("q",)),
        LetterFilter(since_ms=1001),
        LetterFilter(until_ms=1000),
    ],
)
def test_a_letter_that_is_not_meant(chosen: LetterFilter) -> None:
    """One list or bound that does not fit is enough."""
    assert not chosen.fits(HEAD)
    assert not chosen.is_empty


def test_an_integration_is_named_or_the_provider_s_own() -> None:
    """A letter without one goes by the provider's name, as everywhere."""
    named = replace(HEAD, integration="shop")
    assert LetterFilter(integrations=("shop",)).fits(named)
    assert not LetterFilter(integrations=("fcm",)).fits(named)


def test_a_filter_without_anything_is_empty() -> None:
    """Whoever means everything has to say so."""
    assert LetterFilter().is_empty
