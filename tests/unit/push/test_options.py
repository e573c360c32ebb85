from __future__ import annotations

import pytest

from tocsin.core.errors import BadRequest
from tocsin.core.push import RateRule, TimeWindow
from tocsin.core.rates import RateLimit
from tocsin.push.options import check_rate, parse_window

POLICIES = (RateLimit(1, 1000),)


def test_a_window_is_seconds_of_the_day() -> None:
    """Also one that spans midnight."""
    assert parse_window("09:00:00", "18:30:15", no_tz_send_now=True) == TimeWindow(
        32_400, 66_615, no_tz_send_now=True
    )
    assert parse_window("22:00:00", "06:00:00", no_tz_send_now=False) == TimeWindow(
        79_200, 21_600
    )


@pytest.mark.parametrize(
    ("after", "before", "field", "reason"),
    [
        ("", "10:00:00", "send_after_time", "must be set"),
        ("10:00:00", "", "send_before_time", "must be set"),
        ("24:00:00", "10:00:00", "send_after_time", "HH:MM:SS"),
        ("10:00", "11:00:00", "send_after_time", "HH:MM:SS"),
        ("10:00:00", "9:00:00", "send_before_time", "HH:MM:SS"),
        ("10:60:00", "11:00:00", "send_after_time", "HH:MM:SS"),
        ("10:00:00\n", "11:00:00", "send_after_time", "HH:MM:SS"),
        ("\uff11\uff10:00:00", "11:00:00", "send_after_time", "HH:MM:SS"),
        ("10:00:00", "10:00:00", "send_before_time", "must differ"),
    ],
)
def test_windows_that_are_none(
    after: str, before: str, field: str, reason: str
) -> None:
    """Both ends are needed, in one form, and apart from each other."""
    with pytest.raises(BadRequest, match=reason) as caught:
        parse_window(after, before, no_tz_send_now=False)
    assert caught.value.field == f"limit_strategy.time_limit.{field}"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", ""),
        ("  ", ""),
        ("device.id", "{{.device.id}}"),
        (".device.user", "{{.device.user}}"),
        (" device.user ", "{{.device.user}}"),
        ("{{ .device.user }}", "{{ .device.user }}"),
        ("news {{.device.user}}", "news {{.device.user}}"),
        ("campaign-7", "campaign-7"),
    ],
)
def test_keys_of_buckets(key: str, expected: str) -> None:
    """A bare variable is meant as one; other text is a bucket for everybody."""
    assert check_rate(RateRule(POLICIES, key)).key == expected


@pytest.mark.parametrize(
    ("rule", "field", "reason"),
    [
        (RateRule(()), "policies", "must not be empty"),
        (RateRule(POLICIES * 11), "policies", "must be at most 10, are 11"),
        (RateRule((RateLimit(0, 1),)), "policies[0].rate", "from 1"),
        (RateRule((RateLimit(2**40, 1),)), "policies[0].rate", "from 1"),
        (RateRule((*POLICIES, RateLimit(-5, 1))), "policies[1].rate", "from 1"),
        (RateRule((RateLimit(1, 0),)), "policies[0].interval_ms", "at least 1"),
        (RateRule(POLICIES, "x" * 256), "key", "at most 255 bytes"),
        (RateRule(POLICIES, "{{.device.token}}"), "key", "column 3: unknown variable"),
        (RateRule(POLICIES, "{{.device.meta.a}}"), "key", "needs use_meta"),
        (RateRule(POLICIES, "{{"), "key", "the braces are not closed"),
        (RateRule(POLICIES, "news:device.user"), "key", "{{.device.user}}"),
    ],
)
def test_rates_that_cannot_be_kept(rule: RateRule, field: str, reason: str) -> None:
    """The faulty policy is named, and a key that would put all into one bucket."""
    with pytest.raises(BadRequest) as caught:
        check_rate(rule)
    assert caught.value.field == f"limit_strategy.rate_limit.{field}"
    assert reason in caught.value.detail
