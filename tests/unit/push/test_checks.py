from __future__ import annotations

from collections.abc import Callable

import pytest

from tocsin.core.device import DeviceFilter, PageRequest, ProviderTokens, TopicOp
from tocsin.core.errors import BadRequest
from tocsin.core.ids import new_id
from tocsin.push import checks
from tocsin.push.checks import DeviceLimits, Paging

LIMITS = DeviceLimits(token_length=10, topic_length=5, topics_per_device=3)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "must not be empty"),
        ("abcdef", "must be at most 5 bytes long, has 6"),
        ("éé€", "must be at most 5 bytes long, has 7"),
        ("a\0b", "must not contain NUL characters"),
        ("é\0", "must not contain NUL characters"),
        ("\ud800", "must be valid Unicode text"),
    ],
)
def test_text_that_cannot_be_stored(value: str, reason: str) -> None:
    """Text is refused with its field, a reason, and never the value itself."""
    with pytest.raises(BadRequest) as caught:
        checks.check_text("token", value, 5)
    assert caught.value.message == f"bad request: token: {reason}"


@pytest.mark.parametrize("value", ["a", "abcde", "é€", "tab\tand\nline"[:5]])
def test_text_that_can_be_stored(value: str) -> None:
    """Any Unicode text up to the limit in bytes passes."""
    checks.check_text("token", value, 5)


def test_list_names_the_index_and_merges() -> None:
    """A bad value in a list is named by its index; doubled ones are merged."""
    assert checks.check_texts("topics", ["a", "b", "a"], 5) == ("a", "b")
    for bad in ("", "toolong", "x\0", "\udfff", "ééé"):
        with pytest.raises(BadRequest) as caught:
            checks.check_texts("topics", ["a", bad], 5)
        assert caught.value.field == "topics[1]"


def test_lists_of_users_may_hold_the_empty_one() -> None:
    """Where the empty user has a meaning, it may be looked for."""
    assert checks.check_texts("users", ["", "u"], 5, required=False) == ("", "u")


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.check_provider, "gcm"),
        (checks.check_provider, ""),
        (checks.check_provider, "FCM"),
        (checks.read_platform, "windows"),
        (checks.read_platform, ""),
        (checks.check_id, "me"),
        (checks.check_id, ""),
        (checks.check_locale, "e"),
        (checks.check_locale, "en-"),
        (checks.check_locale, "en us"),
        (checks.check_locale, "en_US.UTF-8"),
        (checks.check_locale, "dé"),
        (checks.check_locale, "en-" + "a" * 9),
        (checks.check_locale, "en" + "-a" * 60),
        (checks.check_locale, "en\n"),
    ],
)
def test_values_outside_their_set(
    check: Callable[[str, str], None], value: str
) -> None:
    """A value that its rule does not know is refused by field."""
    with pytest.raises(BadRequest) as caught:
        check("field", value)
    assert caught.value.field == "field"


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *((checks.check_provider, p) for p in ("fcm", "one-signal", "webpush")),
        *((checks.read_platform, p) for p in ("ios", "android", "web")),
        *(
            (checks.check_locale, tag)
            for tag in ("", "en", "pt-BR", "pt_BR", "zh-Hant-TW", "x-elvish", "es-419")
        ),
    ],
)
def test_values_inside_their_set(check: Callable[[str, str], None], value: str) -> None:
    """The documented values pass, and `_` is read as `-` in a locale."""
    check("field", value)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"": "v"}, "meta: key must not be empty"),
        ({"k" * 256: "v"}, "meta: key must be at most 255 bytes long, has 256"),
        ({"a\0": "v"}, "meta: key must not contain NUL characters"),
        ({"a": "x" * 4097}, 'meta["a"]: must be at most 4096 bytes long, has 4097'),
        ({"a": "\0"}, 'meta["a"]: must not contain NUL characters'),
        ({str(n): "" for n in range(101)}, "meta: must have at most 100 entries"),
    ],
)
def test_maps(meta: dict[str, str], message: str) -> None:
    """Maps have caps on entries, keys and values; the key is named."""
    with pytest.raises(BadRequest) as caught:
        checks.check_meta("meta", meta)
    assert caught.value.message.startswith(f"bad request: {message}")


def test_tag_values_are_short() -> None:
    """Tags are indexed, so their values are capped lower than metadata."""
    checks.check_tags("tags", {"a": "x" * 255, "empty": ""})
    with pytest.raises(BadRequest):
        checks.check_tags("tags", {"a": "x" * 256})


def test_topics_per_device_counts_distinct_ones() -> None:
    """Doubled topics do not count against the limit."""
    assert checks.check_topics("topics", ["a", "a", "b", "c"], LIMITS) == (
        "a",
        "b",
        "c",
    )
    with pytest.raises(BadRequest, match="topics: must be at most 3, are 4"):
        checks.check_topics("topics", ["a", "b", "c", "d"], LIMITS)


def test_op() -> None:
    """An op is one of three words; empty only where a default exists."""
    assert checks.parse_op("op", "add") is TopicOp.ADD
    assert checks.parse_op("op", "", TopicOp.SET) is TopicOp.SET
    for bad in ("", "ADD", "replace"):
        with pytest.raises(BadRequest, match=r"op: must .*one of add, remove, set"):
            checks.parse_op("op", bad)


def test_page_limits() -> None:
    """Limit 0 is 100, above the cap is clamped; both spellings of the cursor work."""
    id = new_id("fcm")
    assert checks.check_page(Paging(), DeviceLimits()) == PageRequest(limit=100)
    assert checks.check_page(Paging(limit=5000), DeviceLimits()).limit == 1000
    assert checks.check_page(Paging(), DeviceLimits(page_size=10)).limit == 10
    for paging in (Paging(cursor=id), Paging(since=id), Paging(cursor=id, since=id)):
        assert checks.check_page(paging, DeviceLimits()).cursor == id


@pytest.mark.parametrize(
    ("paging", "field"),
    [
        (Paging(limit=-1), "limit"),
        (Paging(cursor="x"), "cursor"),
        (Paging(since="x"), "since"),
        (Paging(cursor=new_id("fcm"), since=new_id("fcm")), "since"),
    ],
)
def test_bad_pages(paging: Paging, field: str) -> None:
    """A bad page is refused by the field as the caller spelled it."""
    with pytest.raises(BadRequest) as caught:
        checks.check_page(paging, DeviceLimits())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("filter", "field"),
    [
        (DeviceFilter(ids=("",)), "filter.ids[0]"),
        (DeviceFilter(users=("u" * 256,)), "filter.users[0]"),
        (DeviceFilter(topics=("a", "")), "filter.topics[1]"),
        (DeviceFilter(topics=("toolong",)), "filter.topics[0]"),
        (DeviceFilter(providers=("fcm", "x")), "filter.providers[1]"),
        (DeviceFilter(platforms=("",)), "filter.platforms[0]"),
        (DeviceFilter(tags={"": ""}), "filter.tags"),
        (DeviceFilter(integrations=("",)), "filter.integrations[0]"),
        (
            DeviceFilter(provider_tokens=(ProviderTokens("x", ("t",)),)),
            "filter.provider_tokens[0].provider",
        ),
        (
            DeviceFilter(provider_tokens=(ProviderTokens("fcm", ()),)),
            "filter.provider_tokens[0].tokens",
        ),
        (
            DeviceFilter(provider_tokens=(ProviderTokens("fcm", ("t", "x" * 11)),)),
            "filter.provider_tokens[0].tokens[1]",
        ),
    ],
)
def test_bad_filters(filter: DeviceFilter, field: str) -> None:
    """Each list of a filter is checked and named with its prefix."""
    with pytest.raises(BadRequest) as caught:
        checks.check_device_filter(filter, LIMITS, prefix="filter.")
    assert caught.value.field == field


def test_web_push_selector_takes_the_whole_subscription() -> None:
    """A subscription selects by its endpoint, which is what is stored as token."""
    groups = (
        ProviderTokens(
            "webpush", ('{"endpoint":"https://p.example/1"}', "https://p.example/2")
        ),
        ProviderTokens("webpush", ("{broken", '{"endpoint":1}', "{}")),
    )
    checked = checks.check_provider_tokens("provider_tokens", groups, DeviceLimits())
    assert checked[0].tokens == ("https://p.example/1", "https://p.example/2")
    assert checked[1].tokens == groups[1].tokens
