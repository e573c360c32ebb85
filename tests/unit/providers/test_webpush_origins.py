from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hpack import Decoder

from tocsin.core.endpoints import EndpointRules
from tocsin.core.outcome import Verdict
from tocsin.core.webpush import PushHeaders
from tocsin.http2 import Http2Pool
from tocsin.providers.webpush_origins import BrowserService, BrowserServices, OriginGate

ANYWHERE = EndpointRules(None)
TESTING = EndpointRules(None, allow_private=True)
PUBLIC, OTHER = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


class Names:
    """A resolver that gives the next answer each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


async def test_public_addresses_pass_the_gate_in_order() -> None:
    """What may be dialled is dialled as the resolver orders it."""
    names = Names([OTHER, PUBLIC])
    gate = OriginGate(ANYWHERE, names)
    assert await gate("push.example", 443) == [OTHER, PUBLIC]
    assert names.asked == [("push.example", 443)]
    assert gate.refused == ""


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"],
)
async def test_private_addresses_do_not(address: str) -> None:
    """Beside a public address they are left out; alone they are the reason."""
    gate = OriginGate(ANYWHERE, Names([address, PUBLIC], [address]))
    assert await gate("push.example", 443) == [PUBLIC]
    with pytest.raises(OSError, match="has private addresses only"):
        await gate("push.example", 443)
    assert gate.refused


async def test_a_name_that_changes_is_judged_each_time() -> None:
    """Rebinding: public when it was registered, private when it is dialled."""
    gate = OriginGate(ANYWHERE, Names([PUBLIC], ["127.0.0.1"], [PUBLIC]))
    assert await gate("push.example", 443) == [PUBLIC]
    with pytest.raises(OSError, match="private"):
        await gate("push.example", 443)
    assert await gate("push.example", 443) == [PUBLIC]
    assert gate.refused == ""


async def test_a_name_without_addresses_is_no_refusal() -> None:
    """It may have some later; nothing was turned away."""
    gate = OriginGate(ANYWHERE, Names([]))
    with pytest.raises(OSError, match="has no address"):
        await gate("push.example", 443)
    assert gate.refused == ""


async def test_private_addresses_pass_for_tests() -> None:
    """As the configuration may say."""
    gate = OriginGate(TESTING, Names(["127.0.0.1"]))
    assert await gate("localhost", 443) == ["127.0.0.1"]


@pytest.fixture
async def services() -> AsyncIterator[BrowserServices]:
    """Two places; nothing is connected in these tests."""
    services = BrowserServices(
        TESTING,
        ssl_context=ssl.create_default_context(),
        max_connections=1,
        request_timeout_s=1,
        max_origins=2,
    )
    yield services
    await services.aclose()


async def test_an_origin_keeps_its_connections(services: BrowserServices) -> None:
    """Used one after the other or at once, it is the same service."""
    origin = "https://a.example"
    async with services.use(origin) as first, services.use(origin) as second:
        assert first is second
        assert first.users == 2
    assert first.users == 0
    async with services.use("https://a.example") as third:
        assert third is first


async def test_the_longest_unused_origin_makes_room(services: BrowserServices) -> None:
    """One in use never does."""
    async with services.use("https://a.example") as a:
        async with services.use("https://b.example"):
            pass
        async with services.use("https://c.example"):
            assert len(services) == 2
        async with services.use("https://a.example") as again:
            assert again is a


async def test_all_places_taken_is_a_wait(services: BrowserServices) -> None:
    """The next origin gets the place of the first that is free."""
    order: list[str] = []

    async def use_third() -> None:
        async with services.use("https://c.example"):
            order.append("c")

    async with services.use("https://a.example"):
        async with services.use("https://b.example"):
            waiting = asyncio.create_task(use_third())
            for _ in range(5):
                await asyncio.sleep(0)
            order.append("b")
        await asyncio.wait_for(waiting, 5)
    assert order == ["b", "c"]


def _service(origin: str = "https://push.example") -> BrowserService:
    pool = Http2Pool(origin, ssl_context=ssl.create_default_context())
    return BrowserService(origin, OriginGate(ANYWHERE, Names()), pool)


async def test_three_429_in_a_row_give_the_origin_a_rest() -> None:
    """One may be a device's own, and an answer in between says that others pass."""
    service = _service()
    for status in (429, 429, 201, 429, 429):
        service.heard(status, 30 if status == 429 else None)
    assert service.rest() is None
    service.heard(429, 30)
    outcome = service.rest()
    assert outcome is not None
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "quota_exceeded")
    assert 29 < (outcome.retry_after_s or 0) <= 30


_WNS = "https://wns2-par02p.notify.windows.com"


@pytest.mark.parametrize(
    ("origin", "push", "expected"),
    [
        ("https://push.example", PushHeaders(), {"ttl": "2419200"}),
        (
            "https://push.example",
            PushHeaders(60, "very-low", "news"),
            {"ttl": "60", "urgency": "very-low", "topic": "news"},
        ),
        (_WNS, PushHeaders(60), {"ttl": "60", "x-wns-cache-policy": "cache"}),
        (_WNS, PushHeaders(0), {"ttl": "0", "x-wns-cache-policy": "no-cache"}),
    ],
)
async def test_the_fields_of_a_push(
    origin: str, push: PushHeaders, expected: dict[str, str]
) -> None:
    """TTL always, what was said besides, and what WNS insists on."""
    head = _service(origin).head("vapid t=a, k=b", push).with_path("/x?y")
    fields: dict[Any, Any] = dict(Decoder().decode(head.block))
    assert {name: value for name, value in fields.items() if name[0] != ":"} == {
        "authorization": "vapid t=a, k=b",
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        **expected,
    }
    assert fields[":path"] == "/x?y"
    assert f"https://{fields[':authority']}" == origin


async def test_heads_are_made_once() -> None:
    """Until the token or what is said changes."""
    service = _service()
    head = service.head("vapid t=a, k=b", PushHeaders())
    assert service.head("vapid t=a, k=b", PushHeaders()) is head
    assert service.head("vapid t=a, k=b", PushHeaders(7)) is not head
    assert service.head("vapid t=c, k=b", PushHeaders()) is not head


async def test_an_absurd_wish_does_not_silence_an_origin() -> None:
    """It is asked again after half an hour."""
    service = _service()
    for _ in range(3):
        service.heard(429, 86_400)
    outcome = service.rest()
    assert outcome is not None
    assert outcome.retry_after_s is not None
    assert 0 < outcome.retry_after_s <= 1800
