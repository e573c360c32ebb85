"""Seeded disasters in small, and that the count behind them would notice a loss."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.disaster.accounts import Account, Letter, settle_accounts
from tests.disaster.callers import Record
from tests.disaster.run import play
from tests.disaster.schedule import CLASSES, STORE_LOSSES, Send, make_plan
from tests.disaster.stage import make_template
from tests.support.postgres import PostgresServer, start_postgres, temporary_root

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

SENT = Send("s1", 0.0, "tokens", ("a", "b", "c"), "repeat")


@pytest.fixture(scope="module")
def disaster_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that keeps what it answered when it is killed."""
    root = Path(tempfile.mkdtemp(prefix="tocsin-disaster-", dir=temporary_root()))
    root.chmod(0o711)
    server = start_postgres(root / "postgres", fsync=True)
    make_template(server, root)
    yield server
    server.stop()
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("seed", "classes"),
    [
        (1, ("kills", "pauses", "uid", "cancel")),
        (2, ("outages", "disks", "kills", "uid")),
    ],
)
def test_a_small_disaster_loses_nobody(
    seed: int,
    classes: tuple[str, ...],
    disaster_postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    """Four hundred recipients; `make disaster` plays larger ones, with every fault."""
    plan = make_plan(seed, 400, classes, calls_s=2.5)
    certificates = tmp_path / "provider"
    certificates.mkdir()
    result = play(plan, tmp_path, disaster_postgres, certificates)
    assert (result.account.lost, result.account.halved, result.wrong) == ({}, [], [])
    assert result.account.accepted > 0


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_is_always_the_same_disaster(seed: int) -> None:
    """The replay line says all there is to say."""
    assert make_plan(seed) == make_plan(seed)
    assert make_plan(seed) != make_plan(seed + 1)
    assert sum(len(send.tokens) for send in make_plan(seed).sends) == 2000


def test_every_class_of_faults_is_drawn() -> None:
    """And none that was not asked for."""
    kinds = {fault.kind for seed in range(60) for fault in make_plan(seed).faults}
    assert kinds >= STORE_LOSSES
    without = [name for name in CLASSES if name != "stores"]
    for seed in range(60):
        assert not make_plan(seed, 2000, without).loses_data


def count(
    record: Record,
    got: dict[str, int],
    refused: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
    letters: tuple[Letter, ...] = (),
) -> Account:
    return settle_accounts(
        [record],
        {("s1", token): number for token, number in got.items()},
        {("s1", token): "dead" for token in refused},
        removed,
        letters,
    )


def test_a_recipient_that_nothing_explains_is_lost() -> None:
    """By name, with the uid of its send."""
    account = count(Record(SENT, "u", {"u"}), {"a": 1, "b": 2})
    assert account.lost == {"s1 (uid u)": ["c"]}
    assert (account.delivered, account.twice, account.extra) == (2, 1, 1)


def test_each_recipient_is_counted_by_how_it_ended() -> None:
    """Refused, removed and buried ones are not lost."""
    letters = (Letter("u", frozenset({"c"}), "poison"),)
    account = count(Record(SENT, "u", {"u"}), {}, ("a",), ("b",), letters)
    assert (account.removed, account.dead, account.num_lost) == (2, 1, 0)


def test_a_letter_of_another_send_explains_nothing() -> None:
    """It is the uid that tells."""
    letters = (Letter("v", frozenset({"c"}), "poison"),)
    account = count(Record(SENT, "u", {"u"}), {"a": 1, "b": 1}, letters=letters)
    assert account.num_lost == 1


def test_a_cancelled_send_is_whole_or_not_at_all() -> None:
    """Its middle is a loss."""
    cancelled = Record(SENT, "u", {"u"}, cancelled=True)
    assert count(cancelled, {}).cancelled == 3
    assert count(cancelled, {"a": 1, "b": 1, "c": 1}).num_lost == 0
    assert count(cancelled, {"a": 1}).num_lost == 2


def test_a_send_without_an_answer_is_no_loss_but_never_half() -> None:
    """It may have been sent, or not."""
    unanswered = Record(SENT, "")
    for got in ({}, {"a": 1, "b": 1, "c": 1}):
        account = count(unanswered, got)
        assert (account.num_lost, account.halved, account.unanswered) == (0, [], 1)
    assert count(unanswered, {"a": 1}).halved != []
