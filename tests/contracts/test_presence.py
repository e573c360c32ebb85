"""Every sentence of the `PresenceStore` port, on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.brokers import KINDS, empty_engine, open_presence
from tests.support.clock import shift_wall_clock

from tocsin.core.channel import ClientInfo, PresenceStats
from tocsin.core.ports.channels import PresenceStore

ANNA = ClientInfo("anna", "c1", b'{"n":1}')
ANNA_TOO = ClientInfo("anna", "c2", chan_info=b"\x00\xff")
NOBODY = ClientInfo("", "c3")


@pytest.fixture(params=KINDS)
async def presence(
    request: pytest.FixtureRequest,
) -> AsyncIterator[PresenceStore]:
    """A store that holds nothing."""
    async with open_presence(empty_engine(request, request.param)) as presence:
        yield presence


async def test_who_was_added_is_there(presence: PresenceStore) -> None:
    """Entries by client id, with everything that is known."""
    for info in (ANNA, ANNA_TOO, NOBODY):
        await presence.add("c", info)
    assert dict(await presence.fetch("c")) == {
        "c1": ANNA,
        "c2": ANNA_TOO,
        "c3": NOBODY,
    }
    assert dict(await presence.fetch("other")) == {}


async def test_an_entry_is_renewed_with_its_newest_info(
    presence: PresenceStore,
) -> None:
    """The same client is one entry."""
    await presence.add("c", ANNA)
    newer = ClientInfo("anna", "c1", b'{"n":2}')
    await presence.add("c", newer)
    assert dict(await presence.fetch("c")) == {"c1": newer}


async def test_who_was_removed_is_gone(presence: PresenceStore) -> None:
    """An absent entry is no error."""
    await presence.add("c", ANNA)
    await presence.remove("c", "c1", "anna")
    await presence.remove("c", "c1", "anna")
    assert dict(await presence.fetch("c")) == {}


async def test_a_node_with_a_wrong_clock_drops_nobody(
    presence: PresenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reads, and so cleans up, ends by the clock that all nodes share."""
    await presence.add("c", ANNA)
    with monkeypatch.context() as patch:
        shift_wall_clock(patch, 7200)
        assert dict(await presence.fetch("c")) == {"c1": ANNA}
        await presence.add("c", ANNA_TOO)
    assert dict(await presence.fetch("c")) == {"c1": ANNA, "c2": ANNA_TOO}


async def test_stats_count_clients_and_users(presence: PresenceStore) -> None:
    """Distinct users; the empty user id is one of them."""
    assert await presence.fetch_stats("c") == PresenceStats(0, 0)
    for info in (ANNA, ANNA_TOO, NOBODY):
        await presence.add("c", info)
    assert await presence.fetch_stats("c") == PresenceStats(3, 2)
