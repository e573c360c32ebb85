"""What `tocsin devices` selects, counts and restores."""

from __future__ import annotations

import argparse

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock
from tests.support.memory_registry import MemoryDevices
from tests.unit.admin.test_removals import held, service_over

from tocsin.cli import devices as verb
from tocsin.core.device import DeadToken, RemovedFilter

NOW_S = 1_800_000_000.0


def parse(*arguments: str) -> RemovedFilter:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.read_filter(parser.parse_args(arguments), now_s=NOW_S)


def test_options_select() -> None:
    """Each may be given several times; durations count back from now."""
    arguments = ["restore", "--reason", "unregistered", "--reason", "inactive"]
    arguments += ["--integration", "shop", "--provider", "fcm", "--user", "u"]
    arguments += ["--id", "d1", "--topic", "t", "--since", "1h30m"]
    assert parse(*arguments, "--until", "2027-01-15T08:00:00+01:00") == RemovedFilter(
        ids=("d1",),
        users=("u",),
        topics=("t",),
        providers=("fcm",),
        integrations=("shop",),
        reasons=("unregistered", "inactive"),
        since_ms=int(NOW_S - 5400) * 1000,
        until_ms=int(NOW_S - 3600) * 1000,
    )


def test_a_time_without_a_zone_is_utc() -> None:
    """As the log writes it."""
    for text in ("2027-01-15T08:00:00", "2027-01-15 08:00:00Z"):
        assert parse("removed", "--since", text).since_ms == int(NOW_S) * 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["restore"], "say what to restore"),
        (["restore", "--dry-run"], "say what to restore"),
        (["restore", "--all", "--user", "u"], "--all means everything"),
        (["restore", "--since", "yesterday"], "--since: must be a time"),
        (["restore", "--until", "5"], "--until: must be a time"),
        (["restore", "--provider", "fmc"], "--provider: 'fmc' is none of fcm"),
        (["removed", "--all"], "take no --all"),
        (["removals", "list", "--all"], "take no --all"),
        (["removals", "approve"], "say what to approve"),
        (["removals", "restore"], "say what to restore"),
        (["removals", "--dry-run"], "takes no --dry-run"),
        (["removed", "approve"], "takes no approve"),
    ],
)
def test_what_means_nothing_is_refused(arguments: list[str], words: str) -> None:
    """Before anything is opened: a restoration of everything has to be meant."""
    with pytest.raises(ValueError, match=words):
        parse(*arguments)


async def removed(count: int) -> MemoryDevices:
    """A registry with this many removed devices, the first one as inactive."""
    clock = ManualClock()
    store = MemoryDevices(clock=clock)
    (idle,) = store.fill(1, "apns")
    clock.advance(1)
    ids = store.fill(count - 1, integration="shop")
    await store.remove_inactive(older_than_ms=clock.now_ms(), limit=1)
    clock.advance(1)
    said = [
        DeadToken(id, f"token-{n}", clock.now_ms(), "fcm: unregistered")
        for n, id in enumerate(ids)
    ]
    assert (await store.remove_dead(said)).removed == ids
    assert idle not in store.rows
    return store


async def test_restores_in_batches_and_says_how_many(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """However many there are, no transaction is long."""
    store = await removed(2500)
    before = store.writes
    assert await verb.act(store, "restore", RemovedFilter()) == 0
    assert capsys.readouterr().out == "restored 2500 devices\n"
    assert store.limits == [verb.BATCH] * (store.writes - before)
    assert len(store.rows) == 2500


async def test_a_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It tells by provider, integration and reason what would come back."""
    store = await removed(3)
    before = store.writes
    assert await verb.act(store, "restore", RemovedFilter(), dry_run=True) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["2", "fcm", "shop", "fcm:", "unregistered"],
        ["1", "apns", "apns", "inactive"],
        ["3", "would", "be", "restored"],
    ]
    assert (store.writes, store.rows) == (before, {})


async def test_held_removals_are_counted_and_decided(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the service that the RPC uses too."""
    store = await held(4)
    service = service_over(store)
    everything = RemovedFilter()
    assert await verb.decide(service, "list", everything, everything=False) == 0
    group, total = capsys.readouterr().out.splitlines()
    assert group.split() == ["4", "fcm", "shop", "fcm:", "unregistered"]
    assert total.strip() == "4  devices are held; they are sent to until you decide"
    one = RemovedFilter(ids=(next(iter(store.rows)),))
    with capture_logs():  # the audit log's
        assert await verb.decide(service, "restore", one, everything=False) == 0
        assert await verb.decide(service, "approve", everything, everything=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 devices stay",
        "removed 3 devices; `tocsin devices restore` undoes it for 30 days",
    ]
    assert len(store.rows) == 1
