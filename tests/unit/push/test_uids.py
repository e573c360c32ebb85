"""What makes two sends the same one, from release to release."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.jobs import ManualClock
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryUids

from tocsin.core.device import DeviceFilter, ProviderTokens
from tocsin.core.errors import QueueUnavailable
from tocsin.core.lanes import Priority
from tocsin.core.ports.sends import UidClaim
from tocsin.core.push import (
    Body,
    OnlineFirst,
    RateRule,
    RawRecipient,
    SendRequest,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.rates import RateLimit
from tocsin.push.queue_watch import ProcessQueueMarks, QueueWatch
from tocsin.push.uids import UidClaims, fingerprint

FILTER = DeviceFilter(
    ids=("d2", "d1"),
    users=("u2", "u1"),
    topics=("t2", "t1"),
    providers=("fcm", "apns"),
    platforms=("ios", "android"),
    provider_tokens=(
        ProviderTokens("hms", ("h2", "h1")),
        ProviderTokens("fcm", ("f",)),
    ),
    tags={"b": "2", "a": "1"},
    integrations=("eu", "asia"),
)
RATE = RateRule((RateLimit(9, 60_000), RateLimit(2, 1000)), "k", drop=True)
WINDOW = TimeWindow(28_800, 72_000, no_tz_send_now=True)
FIRST = OnlineFirst("news", b'{"b":1, "a":2}', "", 1500, {"b": "2", "a": "1"})
TEXTS = Templating(
    {"fr": {"t": "salut"}, "de": {"t": "hallo", "a": "x"}}, use_meta=True
)
WHOLE = SendRequest(
    recipient=FILTER,
    bodies={
        "fcm": Body(b'{"b":1, "a":2}'),
        "apns": Body(b"{}", {"x-b": "2", "x-a": "1"}),
    },
    uid="u",
    analytics_uid="a",
    expire_at_ms=1_800_000_000_000,
    integration="eu",
    correlation_id="c",
    send_at_ms=1_700_000_000_000,
    reliable=True,
    rate=RATE,
    window=WINDOW,
    templating=TEXTS,
    online_first=FIRST,
)
PLAIN = SendRequest(DeviceFilter(topics=("news",)), {"fcm": Body(b'{"a":1}')})
RAW = replace(PLAIN, recipient=RawRecipient("fcm", TargetKind.TOKEN, ("b", "a")))


@pytest.mark.parametrize(
    ("request_", "known"),
    [
        (WHOLE, "d066df21287de626a44c600c58ed7472"),
        (PLAIN, "d7ef0113b888271a78016297a8ca013d"),
        (RAW, "90d66d4fbac9fb0ba318613d5283c87c"),
        (
            replace(WHOLE, online_first=replace(FIRST, data=b"\xff")),
            "ac1da40b851ebc6ca7b60323432dea38",
        ),
    ],
    ids=["whole", "plain", "raw", "bytes"],
)
def test_a_repeat_is_known_to_every_release(request_: SendRequest, known: str) -> None:
    """Registries keep it for days, so it never changes; these were made in 2026."""
    assert fingerprint(request_).hex()[:32] == known


async def test_a_queue_alone_knows_a_repeat_of_every_release() -> None:
    """The push id is made of uid and content where no store gives one."""
    known = UidClaim("69fe5ab60c0332e1b534b41ba33cbcfb", accepted=False)
    assert await UidClaims(None, None).take(WHOLE, 0, 60) == known


async def test_a_claim_is_confirmed_also_while_the_queue_is_away() -> None:
    """The work is queued; only which data has it cannot be noted."""
    queue, uids, clock = MemoryJobQueue(), MemoryUids(), ManualClock(0)
    watch = QueueWatch(queue, ProcessQueueMarks(), place="here", clock=clock)
    claims = UidClaims(uids, watch)
    claim = await claims.take(PLAIN, 0, 60)
    queue.failure = QueueUnavailable()
    await claims.confirm(PLAIN.uid, claim)
    assert uids.confirmed == {PLAIN.uid}
    assert uids.claims[PLAIN.uid].epoch == ""


def body(message: bytes, headers: dict[str, str] | None = None) -> dict[str, Body]:
    return {"fcm": WHOLE.bodies["fcm"], "apns": Body(message, headers or {})}


def one(**changes: Any) -> dict[str, Any]:
    return {"recipient": replace(FILTER, **changes)}


OTHERS: list[dict[str, Any]] = [
    one(ids=("d2", "d3")),
    one(users=("u2",)),
    one(topics=("t2", "t1", "t3")),
    one(providers=("fcm",)),
    one(platforms=("ios",)),
    one(provider_tokens=FILTER.provider_tokens[:1]),
    one(
        provider_tokens=(
            ProviderTokens("apns", ("h2", "h1")),
            FILTER.provider_tokens[1],
        )
    ),
    one(tags={"b": "2", "a": "2"}),
    one(tags={"b": "2", "c": "1"}),
    one(integrations=("eu",)),
    {"recipient": RawRecipient("fcm", TargetKind.TOKEN, ("a", "b"))},
    {"recipient": RawRecipient("fcm", TargetKind.TOKEN, ("a", "c"))},
    {"recipient": RawRecipient("hms", TargetKind.TOKEN, ("a", "b"))},
    {"recipient": RawRecipient("fcm", TargetKind.TOPIC, ("a", "b"))},
    {"bodies": body(b'{"a":1}', {"x-b": "2", "x-a": "1"})},
    {"bodies": body(b"{}", {"x-b": "2", "x-a": "2"})},
    {"bodies": body(b"{}", {"x-b": "2", "x-c": "1"})},
    {"bodies": {"fcm": WHOLE.bodies["fcm"]}},
    {"analytics_uid": "b"},
    {"expire_at_ms": 1_800_000_000_001},
    {"integration": "asia"},
    {"send_at_ms": 1_700_000_000_001},
    {"send_at_ms": 0},
    {"reliable": False},
    {"priority": Priority.BULK},
    {"priority": Priority.NORMAL},
    {"rate": None},
    {"rate": replace(RATE, key="l")},
    {"rate": replace(RATE, drop=False)},
    {"rate": replace(RATE, limits=RATE.limits[:1])},
    {"rate": replace(RATE, limits=(RateLimit(9, 60_001), RATE.limits[1]))},
    {"rate": replace(RATE, limits=(RateLimit(8, 60_000), RATE.limits[1]))},
    {"window": None},
    {"window": replace(WINDOW, after_s=28_801)},
    {"window": replace(WINDOW, before_s=72_001)},
    {"window": replace(WINDOW, no_tz_send_now=False)},
    {"templating": None},
    {"templating": replace(TEXTS, use_meta=False)},
    {"templating": replace(TEXTS, localizations={"fr": {"t": "salut"}})},
    {"templating": Templating({**TEXTS.localizations, "fr": {"t": "bonjour"}}, True)},
    {"online_first": None},
    {"online_first": replace(FIRST, channel="olds")},
    {"online_first": replace(FIRST, data=b"{}")},
    {"online_first": replace(FIRST, data=b"", b64data="e30=")},
    {"online_first": replace(FIRST, wait_ms=1501)},
    {"online_first": replace(FIRST, tags={"b": "2"})},
    {"online_first": replace(FIRST, tags={"b": "2", "a": "2"})},
]


def test_whatever_differs_makes_another_send() -> None:
    """Each of these would be refused under the uid of any other."""
    sends = [WHOLE, *(replace(WHOLE, **changes) for changes in OTHERS)]
    assert len({fingerprint(each) for each in sends}) == len(sends)


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": "v", "correlation_id": "d"},
        one(
            ids=("d1", "d2"),
            users=("u1", "u2"),
            topics=("t1", "t2"),
            providers=("apns", "fcm"),
            platforms=("android", "ios"),
            provider_tokens=(
                ProviderTokens("fcm", ("f",)),
                ProviderTokens("hms", ("h1",)),
                ProviderTokens("hms", ("h2",)),
            ),
            tags={"a": "1", "b": "2"},
            integrations=("asia", "eu"),
        ),
        {"rate": replace(RATE, limits=RATE.limits[::-1])},
        {"bodies": dict(reversed(list(WHOLE.bodies.items())))},
        {"bodies": {**WHOLE.bodies, "fcm": Body(b'{"a": 2, "b": 1}')}},
        {"bodies": body(b"{ }", {"x-a": "1", "x-b": "2"})},
        {"online_first": replace(FIRST, tags={"a": "1", "b": "2"})},
        {"online_first": replace(FIRST, data=b'{"a":2,"b":1}')},
        {
            "templating": replace(
                TEXTS,
                localizations={"de": {"a": "x", "t": "hallo"}, "fr": {"t": "salut"}},
            )
        },
    ],
)
def test_order_and_spelling_make_no_other_send(changes: dict[str, Any]) -> None:
    """Lists and maps are sets, JSON is what it means, the call is not the send."""
    assert fingerprint(replace(WHOLE, **changes)) == fingerprint(WHOLE)
