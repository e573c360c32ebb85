"""What operators see of stopped sends, and how they go on."""

from __future__ import annotations

from tocsin.admin.halts import find_halts, lift_halts
from tocsin.core.breaker import BodyHalt, body_name
from tocsin.delivery.breakers import LocalBreakerStore


async def test_halts_of_a_send_are_found_and_lifted() -> None:
    """Those of credentials stay."""
    store = LocalBreakerStore()
    halt = BodyHalt("payload_too_large", "413", 5)
    for name in (body_name("p1", "fcm", "shop"), body_name("p2", "fcm", "fcm")):
        await store.swap(name, None, halt.to_text())
    await store.swap(body_name("p1", "apns", "apns"), None, "?")
    await store.swap("credential|fcm|fcm|d", None, "{}")
    assert await find_halts(store, "p1") == [halt]
    assert await find_halts(store, "p3") == []
    assert await lift_halts(store) == 3
    assert list(await store.fetch()) == ["credential|fcm|fcm|d"]
