"""Sends that were stopped, since a provider refuses their body.

It works on what workers share; the work of a stopped send is in the dead letters.
"""

from __future__ import annotations

from tocsin.core.breaker import BodyHalt, body_prefix, is_body_name, read_halt
from tocsin.core.ports.breakers import BreakerStore


async def lift_halts(store: BreakerStore) -> int:
    """Let replayed work be tried at once; returns how many halts were lifted.

    Of all sends: one that is stopped for good is stopped again after a few answers.
    """
    lifted = 0
    for name, text in (await store.fetch()).items():
        if is_body_name(name):
            lifted += await store.swap(name, text, None)
    return lifted


async def find_halts(store: BreakerStore, push_id: str) -> list[BodyHalt]:
    """Why a send stands still now, one reason for each provider that stopped it."""
    texts = await store.fetch()
    found = (
        read_halt(text)
        for name, text in sorted(texts.items())
        if name.startswith(body_prefix(push_id))
    )
    return [halt for halt in found if halt is not None]
