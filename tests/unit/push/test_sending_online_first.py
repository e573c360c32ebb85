"""Sends that are published first: what is refused, and in which order things happen."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.support.jobs import ManualClock
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryUids

from tocsin.core.device import DeviceFilter
from tocsin.core.errors import (
    ApiError,
    BadRequest,
    Conflict,
    NotAvailable,
    QueueFull,
    QueueUnavailable,
    UnknownChannel,
)
from tocsin.core.push import (
    Body,
    Expand,
    OnlineCheck,
    OnlineFirst,
    RawRecipient,
    SendRequest,
    TargetKind,
)
from tocsin.push.first_jobs import MAX_WAIT_MS
from tocsin.push.sending import SendService
from tocsin.push.uids import fingerprint

WAIT_MS = 20_000
FIRST = OnlineFirst("chat:1", b'{"text": "Goal"}', wait_ms=WAIT_MS)
REQUEST = SendRequest(
    recipient=DeviceFilter(users=("anna", "ben")),
    bodies={"fcm": Body(b"{}"), "apns": Body(b"{}")},
    online_first=FIRST,
)


@dataclass
class Channels:
    """The `OnlinePublisher` port; keeps what was published, as the queue was then."""

    queue: MemoryJobQueue
    refusal: ApiError | None = None
    published: list[tuple[OnlineFirst, str, frozenset[str], bool, int]] = field(
        default_factory=list
    )
    dies: bool = False

    def check(self, request: OnlineFirst) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def publish(
        self,
        request: OnlineFirst,
        *,
        push_id: str,
        among: Collection[str],
        again: bool,
    ) -> None:
        if self.dies:
            raise asyncio.CancelledError
        queued = len(self.queue.accepted)
        self.published.append((request, push_id, frozenset(among), again, queued))


class Room:
    """The service with queue, uid memory and channels."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.uids = MemoryUids(self.clock)
        self.channels = Channels(self.queue)
        self.results: list[str] = []
        self.scheduled = 0
        self.service = SendService(
            self.queue,
            self.uids,
            clock=self.clock,
            enabled_providers=("fcm", "apns"),
            has_database=True,
            online=self.channels,
            on_request=lambda _, result: self.results.append(result),
            on_scheduled=lambda _: self._count(),
        )

    def _count(self) -> None:
        self.scheduled += 1

    async def send(self, request: SendRequest = REQUEST, **changes: Any) -> str:
        return await self.service.send(replace(request, **changes))

    def in_ms(self, delay_ms: int) -> int:
        return self.clock.now_ms() + delay_ms


async def test_it_is_queued_then_published_once_for_all_providers() -> None:
    """Each provider's walk asks the channel from the end of the wait on."""
    room = Room()
    uid = await room.send()
    due_ms = room.in_ms(WAIT_MS)
    jobs = room.queue.jobs
    assert [job.provider for job in jobs] == ["fcm", "apns"]
    for job in jobs:
        assert isinstance(job.work, Expand)
        assert job.work.online == OnlineCheck("chat:1", due_ms)
    assert room.queue.due_ms == {uid: due_ms}
    assert room.channels.published == [
        (FIRST, uid, frozenset({"anna", "ben"}), False, 1)
    ]
    assert room.results == ["accepted"]
    assert room.scheduled == 0


async def test_no_wait_means_now() -> None:
    """The jobs are due at once, and ask the channel all the same."""
    room = Room()
    uid = await room.send(online_first=replace(FIRST, wait_ms=0))
    assert room.queue.due_ms == {uid: 0}
    work = room.queue.jobs[0].work
    assert isinstance(work, Expand)
    assert work.online == OnlineCheck("chat:1", room.clock.now_ms())


async def test_without_it_nothing_is_published_or_asked() -> None:
    """A usual send is as it was."""
    room = Room()
    await room.send(online_first=None)
    work = room.queue.jobs[0].work
    assert isinstance(work, Expand)
    assert work.online is None
    assert room.channels.published == []


@pytest.mark.parametrize(
    ("field_name", "changes"),
    [
        (
            "online_first.wait_ms",
            {"online_first": replace(FIRST, wait_ms=MAX_WAIT_MS + 1)},
        ),
        ("send_at", {"send_at_ms": ManualClock().now_ms() + 60_000}),
        (
            "notification.expire_at",
            {"expire_at_ms": ManualClock().now_ms() + WAIT_MS},
        ),
        (
            "notification.expire_at",
            {"expire_at_ms": ManualClock().now_ms() + 1000, "uid": "u"},
        ),
        (
            "online_first",
            {
                "recipient": RawRecipient("fcm", TargetKind.TOKEN, ("t",)),
                "bodies": {"fcm": Body(b"{}")},
            },
        ),
    ],
)
async def test_what_does_not_go_together_is_refused(
    field_name: str, changes: dict[str, Any]
) -> None:
    """The field is named; nothing is queued or published."""
    room = Room()
    with pytest.raises(BadRequest) as caught:
        await room.send(**changes)
    assert caught.value.field == field_name
    assert room.queue.accepted == []
    assert room.channels.published == []
    assert room.results == ["refused"]


@pytest.mark.parametrize(
    "refusal", [UnknownChannel("x"), BadRequest("online_first.data", "x")]
)
async def test_what_the_channel_refuses_is_refused(refusal: ApiError) -> None:
    """Before anything is queued."""
    room = Room()
    room.channels.refusal = refusal
    with pytest.raises(type(refusal)):
        await room.send()
    assert room.queue.accepted == []


async def test_without_channels_it_is_not_available() -> None:
    """Where nothing publishes the option is refused by its name."""
    service = SendService(
        MemoryJobQueue(),
        None,
        clock=ManualClock(),
        enabled_providers=("fcm", "apns"),
        has_database=True,
    )
    with pytest.raises(NotAvailable, match="online_first"):
        await service.send(REQUEST)


@pytest.mark.parametrize("failure", [QueueFull(), QueueUnavailable()])
async def test_what_was_not_queued_is_not_published(failure: ApiError) -> None:
    """Else people would see what the caller believes was refused."""
    room = Room()
    room.queue.failure = failure
    with pytest.raises(type(failure)):
        await room.send()
    assert room.channels.published == []


async def test_what_expired_before_is_not_published() -> None:
    """It is accepted as every late send, and nobody hears of it."""
    room = Room()
    await room.send(expire_at_ms=room.in_ms(-1000))
    assert room.results == ["expired"]
    assert room.channels.published == []


async def test_a_past_send_at_is_now() -> None:
    """Only a send for later is refused."""
    room = Room()
    await room.send(send_at_ms=room.in_ms(-1000))
    assert len(room.channels.published) == 1


async def test_a_repeat_publishes_nothing() -> None:
    """The uid was accepted, so the first call published."""
    room = Room()
    await room.send(uid="u")
    await room.send(uid="u")
    assert room.results == ["accepted", "repeated"]
    assert len(room.channels.published) == 1
    assert len(room.queue.accepted) == 1


async def test_a_repeat_after_a_crash_publishes_what_may_not_have_been() -> None:
    """The process ended between queueing and publishing; the push id stays."""
    room = Room()
    room.channels.dies = True
    with pytest.raises(asyncio.CancelledError):
        await room.send(uid="u")
    room.channels.dies = False
    await room.send(uid="u")
    ((_, push_id, _, again, _),) = room.channels.published
    assert again
    assert [payload.push_id for payload, _ in room.queue.accepted] == [push_id]
    assert room.results == ["repeated"]


async def test_a_repeat_is_known_when_the_rest_of_its_time_is_short() -> None:
    """An accepted uid is answered again, though a fresh request would be refused."""
    room = Room()
    request = replace(REQUEST, uid="u", expire_at_ms=room.in_ms(WAIT_MS + 5000))
    await room.send(request)
    room.clock.advance(10)
    await room.send(request)
    assert room.results == ["accepted", "repeated"]
    assert len(room.channels.published) == 1


async def test_such_a_repeat_is_known_after_a_crash_too() -> None:
    """The claim stands unconfirmed, the jobs are queued."""
    room = Room()
    request = replace(REQUEST, uid="u", expire_at_ms=room.in_ms(WAIT_MS + 5000))
    room.channels.dies = True
    with pytest.raises(asyncio.CancelledError):
        await room.send(request)
    room.channels.dies = False
    room.clock.advance(10)
    await room.send(request)
    assert len(room.queue.accepted) == 1
    assert len(room.channels.published) == 1


async def test_a_refused_expiry_leaves_the_uid_free() -> None:
    """The caller repeats with the same uid and a better time."""
    room = Room()
    with pytest.raises(BadRequest):
        await room.send(uid="u", expire_at_ms=room.in_ms(1000))
    await room.send(uid="u", expire_at_ms=room.in_ms(WAIT_MS + 5000))
    assert room.results == ["refused", "accepted"]


async def test_a_uid_is_remembered_beyond_the_wait() -> None:
    """As long as one without a wait, counted from the push on."""
    room = Room()
    await room.send(uid="a", online_first=replace(FIRST, wait_ms=0))
    await room.send(uid="b")
    assert room.uids.left_s("b") == room.uids.left_s("a") + WAIT_MS / 1000


async def test_the_wait_can_be_cancelled() -> None:
    """All providers' jobs are taken back."""
    room = Room()
    await room.send(uid="u")
    await room.service.cancel("u")
    assert room.queue.accepted == []


@pytest.mark.parametrize(
    "other",
    [
        None,
        replace(FIRST, channel="chat:2"),
        replace(FIRST, data=b'{"text": "Foul"}'),
        replace(FIRST, b64data="e30="),
        replace(FIRST, wait_ms=1),
        replace(FIRST, tags={"a": "b"}),
    ],
)
async def test_another_publication_is_another_content(
    other: OnlineFirst | None,
) -> None:
    """A uid with other content is a conflict."""
    room = Room()
    await room.send(uid="u")
    with pytest.raises(Conflict):
        await room.send(uid="u", online_first=other)


def test_spaces_and_order_in_the_data_are_no_other_content() -> None:
    """As in bodies; what is no JSON counts byte by byte."""

    def printed(data: bytes) -> bytes:
        first = replace(FIRST, data=data)
        return fingerprint(replace(REQUEST, online_first=first))

    assert printed(b'{"a":1,"b":2}') == printed(b'{"b": 2, "a": 1}')
    assert printed(b"\x00\xff") != printed(b"\x00\xfe")
    assert printed(b"[1]") != printed(b"[ 2 ]")
