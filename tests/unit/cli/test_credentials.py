"""What `tocsin credentials` prints and changes."""

from __future__ import annotations

import argparse

import pytest
from structlog.testing import capture_logs
from tests.unit.admin.test_credentials import CredentialDesk

from tocsin.cli import credentials as verb


def misuse(*arguments: str) -> str:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb._find_misuse(parser.parse_args(arguments))


def test_what_means_nothing_is_refused() -> None:
    """Closing has to name what."""
    assert misuse() == misuse("list") == misuse("close", "shop") == ""
    assert misuse("list", "shop").startswith("takes no 'shop'")
    assert misuse("probe").startswith("name the integrations")


async def test_why_sends_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """Since when, until when, and by what answer, in one line each."""
    desk = CredentialDesk()
    await desk.open()
    assert await verb.act(desk.service, "list", []) == 0
    shop, news = capsys.readouterr().out.splitlines()
    assert shop.endswith(
        "open        since 2027-01-15T08:00:00+00:00"
        "  next probe 2027-01-15T08:00:10+00:00  failed probes 0"
        "  7 jobs of fcm wait  push p1  not_found: 404 no project"
    )
    assert news.split() == ["apns", "news", "closed"]


async def test_a_breaker_of_another_key_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is not this configuration's."""
    desk = CredentialDesk()
    await desk.open(digest="old")
    await verb.act(desk.service, "list", [])
    assert "(not the key of this configuration)" in capsys.readouterr().out


async def test_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 where nothing waits, 2 for a name that is wrong."""
    desk = CredentialDesk()
    await desk.open()
    with capture_logs():  # the audit log's
        assert await verb.act(desk.service, "probe", ["shop", "shop"]) == 0
        assert await verb.act(desk.service, "close", ["shop"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "shop: the next push that waits for it is tried",
        "shop: closed; what waited for it goes on within seconds",
    ]
    with capture_logs():
        assert await verb.act(desk.service, "close", ["shop"]) == 1
        assert await verb.act(desk.service, "probe", ["shops"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "nothing waits for shop: its breaker is closed",
        "'shops' is none of news, shop",
    ]
