"""Sessions room: asking whether a good token is still welcome, without a gap.

A token is taken back in two steps: it is written down, then nodes are told to close
what it opened. Whoever is between the question and the open door hears neither; so
the question is asked again when the node was told something meanwhile.
"""

from __future__ import annotations

from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.sessions.connection import Context


async def check_connection(
    context: Context, claims: ConnectionClaims, *, has_token: bool = True
) -> None:
    """Raise what the gate raises; right after it nothing has been missed."""
    if context.gate is None:
        return
    asked_at = -1
    while asked_at != context.hub.orders:
        asked_at = context.hub.orders
        await context.gate.check(claims, has_token=has_token)


async def check_subscription(context: Context, claims: SubscriptionClaims) -> None:
    """As `check_connection`, for a subscription's own token."""
    if context.gate is None:
        return
    asked_at = -1
    while asked_at != context.hub.orders:
        asked_at = context.hub.orders
        await context.gate.check_subscription(claims)
