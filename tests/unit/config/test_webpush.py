from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tocsin.config import Config
from tocsin.config.checks import find_contradictions
from tocsin.config.webpush import WebPushSection, is_pair
from tocsin.core.endpoints import EndpointRules
from tocsin.simulator.webpush import make_vapid_keys

PUBLIC, PRIVATE = make_vapid_keys()
KEYS = {
    "vapid_public_key": PUBLIC,
    "vapid_private_key": PRIVATE,
    "subject": "mailto:ops@example.com",
}


def faults(**webpush: Any) -> dict[str, str]:
    push = {"enabled_providers": ["webpush"], "webpush": webpush}
    made = Config.model_validate(
        {"database": {"sqlite": {"path": "t.db"}}, "push_notifications": push}
    )
    return {found.path: found.message for found in find_contradictions(made)}


def test_a_pair_with_a_subject_is_enough() -> None:
    """The origins are built in, the batch is small, and tests are not on."""
    made = WebPushSection.model_validate(KEYS)
    assert made.allowed_endpoint_origins == ()
    assert made.tokens_batch_size == 100
    assert not made.allow_private_addresses
    assert faults(**KEYS) == {}


@pytest.mark.parametrize("missing", list(KEYS))
def test_each_key_is_needed(missing: str) -> None:
    """Without one of them no push service takes a message."""
    rest = {key: value for key, value in KEYS.items() if key != missing}
    path = f"push_notifications.webpush.{missing}"
    assert faults(**rest) == {path: "must be set, since webpush is enabled"}


@pytest.mark.parametrize(
    "private",
    [make_vapid_keys()[1], "A" * 43, "_" * 42 + "8"],
    ids=["another", "zero", "beyond the curve"],
)
def test_keys_that_are_no_pair(private: str) -> None:
    """Found before the first push, without showing either key."""
    found = faults(**{**KEYS, "vapid_private_key": private})
    assert list(found) == ["push_notifications.webpush.vapid_public_key"]
    assert PUBLIC not in str(found)


def test_pairs_are_pairs() -> None:
    """Each public key belongs to its own private one."""
    for _ in range(5):
        assert is_pair(*make_vapid_keys())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vapid_public_key", "+" + PUBLIC[1:]),
        ("vapid_public_key", PRIVATE),
        ("vapid_public_key", "A" + PUBLIC[1:]),
        ("vapid_public_key", PUBLIC[:-2]),
        ("vapid_private_key", PUBLIC),
        ("vapid_private_key", PRIVATE[:-2]),
        ("vapid_private_key", "!" * 43),
        ("subject", "ops@example.com"),
        ("subject", "mailto:"),
        ("subject", "mailto:ops"),
        ("subject", "http://example.com"),
        ("subject", "https://"),
        ("subject", "mailto:a b@example.com"),
        ("allowed_endpoint_origins", ["fcm.googleapis.com"]),
        ("allowed_endpoint_origins", ["http://push.example"]),
        ("allowed_endpoint_origins", ["https://push.example/path"]),
        ("extra_allowed_endpoint_origins", ["https://a.example", "https://*"]),
        ("tokens_batch_size", 0),
    ],
    ids=map(str, range(18)),  # the keys are new in every process
)
def test_what_cannot_be_meant(key: str, value: Any) -> None:
    """The fault is at the key, and a key's value is not repeated."""
    with pytest.raises(ValidationError) as caught:
        WebPushSection.model_validate({**KEYS, key: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [key]
    assert PRIVATE not in str(caught.value)


@pytest.mark.parametrize(
    "subject", ["mailto:ops@example.com", "https://example.com/contact", ""]
)
def test_subjects(subject: str) -> None:
    """A mail address or a page."""
    assert (
        WebPushSection.model_validate({**KEYS, "subject": subject}).subject == subject
    )


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "https://*.push.example",
        "https://push.example:8443/",
        "https://127.0.0.1:9443 https://[::1]:9443",
    ],
)
def test_origins_are_what_the_rules_read(origins: str) -> None:
    """Whatever passes here can be used when sending, as a list or as words."""
    made = WebPushSection.model_validate({"allowed_endpoint_origins": origins})
    rules = EndpointRules.configured(
        made.allowed_endpoint_origins, (), allow_private=False
    )
    assert (rules.origins is None) == (origins == "*")


def test_extra_origins_are_added() -> None:
    """To the built-in ones, or to those that replace them."""
    extra = ("https://push.example",)
    built_in = EndpointRules.configured((), extra, allow_private=False)
    replaced = EndpointRules.configured(("https://a.b",), extra, allow_private=False)
    assert built_in.origins is not None
    assert replaced.origins is not None
    assert (len(built_in.origins), len(replaced.origins)) == (6, 2)
