from __future__ import annotations

from dataclasses import replace

import pytest

from tocsin.core.device import DeviceFilter
from tocsin.core.integrations import Integration, Integrations

SECTION = Integration("fcm", "fcm")
B = Integration("b", "fcm")
OFF = Integration("off", "fcm", active=False)
APNS = Integration("apns", "apns")
NEWS = DeviceFilter(topics=("news",))


def names(integrations: Integrations, **options: str) -> list[tuple[str, object]]:
    walks = integrations.walks("fcm", NEWS, **options)
    assert all(part.topics == ("news",) for _, part in walks)
    return [(each.identifier, part.integrations) for each, part in walks]


def test_a_lone_section_walks_the_filter_as_it_is() -> None:
    """Who names no further integrations pays nothing for them."""
    assert Integrations([SECTION, APNS]).walks("fcm", NEWS) == [(SECTION, NEWS)]


def test_each_active_integration_walks_its_own_devices() -> None:
    """No device is in two walks, and none of an inactive one is in any."""
    several = Integrations([SECTION, B, OFF, APNS])
    assert names(several) == [("fcm", ("fcm",)), ("b", ("b",))]
    assert names(several, only="b") == [("b", ("b",))]
    assert names(several, only="off") == []
    assert several.walks("apns", NEWS) == [(APNS, NEWS)]


def test_an_inactive_one_beside_the_section_still_divides() -> None:
    """Its devices are passed over, not sent with the keys of another project."""
    assert names(Integrations([SECTION, OFF])) == [("fcm", ("fcm",))]


def test_a_filter_by_integration_leaves_the_others_out() -> None:
    """The caller's list and the walks' own parts are met at once."""
    several = Integrations([SECTION, B])
    wanted = replace(NEWS, integrations=("b", "gone"))
    found = several.walks("fcm", wanted)
    assert [(each.identifier, part.integrations) for each, part in found] == [
        ("b", ("b",))
    ]


def test_devices_without_a_name_fall_to_the_newest_where_no_section_is() -> None:
    """They were registered before there was any integration of their provider."""
    assert names(Integrations([B, replace(B, identifier="c")])) == [
        ("b", ("b",)),
        ("c", ("c", "")),
    ]


@pytest.mark.parametrize(
    ("given", "newest"),
    [([SECTION], "fcm"), ([SECTION, B], "b"), ([SECTION, B, OFF], "b"), ([OFF], None)],
)
def test_an_empty_name_is_the_active_one_created_last(
    given: list[Integration], newest: str | None
) -> None:
    """Further integrations come after the section, in their order."""
    found = Integrations(given).newest("fcm")
    assert (found and found.identifier) == newest


def test_providers_are_those_with_an_active_one() -> None:
    """An integration that is off enables nothing."""
    assert set(Integrations([OFF, APNS]).providers) == {"apns"}
    assert Integrations([OFF, APNS]).names_of("fcm") == {"fcm", "off"}
    assert Integrations([OFF]).get("off") == OFF


def test_jobs_name_the_section_by_nothing() -> None:
    """Entries that an older release queued mean the section too."""
    assert (SECTION.job_name, B.job_name) == ("", "b")
