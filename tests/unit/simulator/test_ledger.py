from __future__ import annotations

from tocsin.simulator.ledger import Ledger


def test_duplicates_are_targets_and_extra_are_messages() -> None:
    """A target accepted three times is one duplicate and two messages too many."""
    ledger = Ledger()
    for target in ("a", "b", "b", "c", "c", "c"):
        ledger.deliver(target)
    stats = ledger.stats()
    assert (stats["accepted"], stats["distinct"]) == (6, 3)
    assert (stats["duplicates"], stats["extra"]) == (2, 3)


def test_pages_cover_everything_once() -> None:
    """Following `next` meets each target once, also those added meanwhile."""
    ledger = Ledger()
    for number in range(7):
        ledger.deliver(f"t{number}")
    first = ledger.page(0, 5, 1)
    ledger.deliver("late")
    second = ledger.page(first["next"], 5, 1)
    found = [target for target, _ in first["delivered"] + second["delivered"]]
    assert found == [*(f"t{number}" for number in range(7)), "late"]
    assert second["next"] is None


def test_a_page_can_show_duplicates_only() -> None:
    """`at_least` leaves out what was accepted less often."""
    ledger = Ledger()
    for target in ("a", "b", "b"):
        ledger.deliver(target)
    assert ledger.page(0, 10, 2)["delivered"] == [("b", 2)]
