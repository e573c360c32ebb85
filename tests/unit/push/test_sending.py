from __future__ import annotations

import asyncio
import copy
import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, make_payload
from tests.support.memory_queue import MemoryJobQueue, MemoryQueueData
from tests.support.memory_registry import MemoryUids

from tocsin.core.accounts import Account
from tocsin.core.analytics import NotificationRow, SendEvent, event_row
from tocsin.core.device import Detail, DeviceFilter, ProviderTokens
from tocsin.core.endpoints import EndpointRules
from tocsin.core.errors import (
    BadRequest,
    Conflict,
    NotAvailable,
    QueueFull,
    QueueUnavailable,
)
from tocsin.core.integrations import Integration, Integrations
from tocsin.core.push import (
    Body,
    Expand,
    Job,
    Payload,
    RateRule,
    RawRecipient,
    Recipients,
    RecipientType,
    Send,
    SendRequest,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.push_services import SERVICES
from tocsin.core.rates import RateLimit
from tocsin.core.webpush import parse_target
from tocsin.push.checks import DeviceLimits
from tocsin.push.queue_watch import ProcessQueueMarks, QueueWatch
from tocsin.push.sending import SendService
from tocsin.push.uids import ONCE_LONGER_S, fingerprint

NOW_MS = 1_800_000_000_000
MESSAGE = Body(b'{"notification": {"title": "Hi"}}')
TOPIC = DeviceFilter(topics=("news",))
REQUEST = SendRequest(recipient=TOPIC, bodies={"fcm": MESSAGE})


class Room:
    """The service with queue and uid memory."""

    def __init__(self, **options: Any) -> None:
        self.clock = options.pop("clock", None) or ManualClock(NOW_MS)
        self.queue = options.pop("queue", MemoryJobQueue(self.clock))
        self.uids = options.pop("uids", MemoryUids(self.clock))
        self.expired: list[tuple[str, RecipientType, int]] = []
        self.results: list[tuple[RecipientType, str]] = []
        self.scheduled: list[RecipientType] = []
        self.cancelled: list[tuple[str, RecipientType, int]] = []
        self.rows: list[NotificationRow] = []
        chosen: dict[str, Any] = {
            "enabled_providers": ("fcm", "apns"),
            "has_database": True,
            "batch_sizes": {"fcm": 3},
            "uid_ttl_s": 60,
            "limits": DeviceLimits(token_length=10, topic_length=5, payload_size=64),
            **options,
        }
        self.service = SendService(
            self.queue,
            self.uids,
            clock=self.clock,
            on_expired=lambda *args: self.expired.append(args),
            on_request=lambda *args: self.results.append(args),
            on_scheduled=self.scheduled.append,
            on_cancelled=lambda *args: self.cancelled.append(args),
            rows=self,
            **chosen,
        )

    def add(self, row: NotificationRow) -> bool:
        """The `RowSink` of the port."""
        self.rows.append(row)
        return True

    async def send(self, request: SendRequest = REQUEST, **changes: Any) -> str:
        return await self.service.send(replace(request, **changes))


def _raw(
    *targets: str, kind: TargetKind = TargetKind.TOKEN, provider: str = "fcm"
) -> RawRecipient:
    return RawRecipient(provider, kind, targets)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("uid", {"uid": "u" * 256}),
        ("uid", {"uid": "\0"}),
        ("analytics_uid", {"analytics_uid": "u" * 256}),
        ("integration", {"integration": "second"}),
        ("notification.expire_at", {"expire_at_ms": -1000}),
        ("notification.expire_at", {"expire_at_ms": 1_800_000_000_000_000}),
        ("recipient.filter", {"recipient": DeviceFilter()}),
        ("recipient.filter.topics[0]", {"recipient": DeviceFilter(topics=("",))}),
        ("recipient.filter.topics[0]", {"recipient": DeviceFilter(topics=("x" * 6,))}),
        ("recipient.filter.users[0]", {"recipient": DeviceFilter(users=("",))}),
        ("recipient.filter.ids[1]", {"recipient": DeviceFilter(ids=("a", ""))}),
        (
            "recipient.filter.providers[0]",
            {"recipient": DeviceFilter(providers=("x",))},
        ),
        ("recipient.filter.tags", {"recipient": DeviceFilter(tags={"": ""})}),
        (
            "recipient.filter.provider_tokens[0].tokens",
            {"recipient": DeviceFilter(provider_tokens=(ProviderTokens("fcm", ()),))},
        ),
        ("recipient.fcm_tokens", {"recipient": _raw()}),
        ("recipient.fcm_tokens[2]", {"recipient": _raw("a", "b", "")}),
        ("recipient.fcm_tokens[0]", {"recipient": _raw("x" * 11)}),
        ("recipient.fcm_topic", {"recipient": _raw("", kind=TargetKind.TOPIC)}),
        ("recipient.fcm_topic", {"recipient": _raw("\0", kind=TargetKind.TOPIC)}),
        (
            "recipient.fcm_condition",
            {"recipient": _raw("x" * 5000, kind=TargetKind.CONDITION)},
        ),
        ("notification", {"bodies": {}}),
        (
            "notification",
            {"recipient": DeviceFilter(topics=("a",), providers=("apns",))},
        ),
        ("notification", {"integration": "apns"}),
        ("notification.apns", {"recipient": _raw("aa", provider="apns")}),
        ("recipient.apns_tokens[1]", {"recipient": _raw("aa", "x", provider="apns")}),
        ("recipient.fcm_tokens[0]", {"recipient": _raw("a b")}),
        ("notification.fcm", {"recipient": _raw("t"), "bodies": {}}),
        ("integration", {"recipient": _raw("t"), "integration": "apns"}),
        ("notification.fcm.message", {"bodies": {"fcm": Body(b"")}}),
        ("notification.fcm.message", {"bodies": {"fcm": Body(b"[]")}}),
        ("notification.fcm.message", {"bodies": {"fcm": Body(b"{")}}),
        ("notification.fcm.message", {"bodies": {"fcm": Body(b'{"a":"' + b"x" * 64)}}),
        ("notification.apns.payload", {"bodies": {"apns": Body(b"null")}}),
        (
            "notification.apns.headers",
            {"bodies": {"apns": Body(b"{}", {"a b": "c"})}},
        ),
        (
            'notification.apns.headers["a"]',
            {"bodies": {"apns": Body(b"{}", {"a": "b\r\nc: d"})}},
        ),
    ],
)
async def test_bad_request(field: str, changes: dict[str, Any]) -> None:
    """Bad input is named by its path; neither queue nor uid memory hears of it."""
    room = Room()
    with pytest.raises(BadRequest) as caught:
        await room.send(**{"uid": "u", **changes})
    assert caught.value.field == field
    assert room.queue.accepted == []
    assert room.uids.claims == {}


@pytest.mark.parametrize(
    ("detail", "changes"),
    [
        (
            "notification.hms: provider hms is not enabled",
            {"bodies": {"fcm": MESSAGE, "hms": MESSAGE}},
        ),
        (
            "recipient.webpush_tokens: provider webpush is not enabled",
            {"recipient": _raw("t", provider="webpush")},
        ),
        (
            "notification.one_signal: provider one-signal is not enabled",
            {"bodies": {"one-signal": MESSAGE}},
        ),
    ],
)
async def test_provider_not_enabled(detail: str, changes: dict[str, Any]) -> None:
    """A body or a raw recipient of a provider that is off is 108 by its name."""
    room = Room()
    with pytest.raises(NotAvailable) as caught:
        await room.send(**changes)
    assert caught.value.message == f"not available: {detail}"
    assert room.queue.accepted == []


async def test_without_a_database_only_raw_sends() -> None:
    """Filters need a database; raw tokens do not."""
    room = Room(has_database=False)
    with pytest.raises(NotAvailable, match=r"database\.sqlite\.path"):
        await room.send()
    await room.send(recipient=_raw("t"))
    assert len(room.queue.jobs) == 1


async def test_without_a_queue() -> None:
    """Where pushes are off no body can be for an enabled provider: 108."""
    room = Room(queue=None, enabled_providers=())
    with pytest.raises(NotAvailable):
        await room.send()


async def test_pushes_that_are_switched_off() -> None:
    """Providers may be named while the switch is off; the error names both."""
    with pytest.raises(NotAvailable) as caught:
        await Room(queue=None).send()
    assert "push_notifications.enabled " in caught.value.message
    assert "enabled_providers" in caught.value.message


async def test_filter_makes_one_job_per_provider() -> None:
    """Each provider with a body that the filter allows gets an expand job."""
    room = Room()
    both = {"fcm": MESSAGE, "apns": Body(b"{}", {"apns-priority": "5"})}
    await room.send(
        bodies=both,
        expire_at_ms=NOW_MS + 1,
        correlation_id="c",
        traceparent="t",
        analytics_uid="camp",
    )
    (payload, jobs), *_ = room.queue.accepted
    assert [(job.provider, job.work) for job in jobs] == [
        ("fcm", Expand(TOPIC)),
        ("apns", Expand(TOPIC)),
    ]
    assert payload.bodies == both
    assert payload.analytics_uid == "camp"
    job = jobs[0]
    assert job.push_id == payload.push_id
    assert job.recipient_type is RecipientType.FILTER
    assert (job.accepted_at_ms, job.expire_at_ms) == (NOW_MS, NOW_MS + 1)
    assert (job.correlation_id, job.traceparent, job.attempt) == ("c", "t", 0)
    assert jobs[0].id != jobs[1].id


async def test_filter_limited_to_one_provider() -> None:
    """A provider that the filter or the integration excludes gets no job or body."""
    room = Room()
    both = {"fcm": MESSAGE, "apns": Body(b"{}")}
    await room.send(
        bodies=both, recipient=DeviceFilter(topics=("a",), providers=("apns",))
    )
    await room.send(bodies=both, integration="fcm")
    assert [job.provider for job in room.queue.jobs] == ["apns", "fcm"]
    assert [list(payload.bodies) for payload, _ in room.queue.accepted] == [
        ["apns"],
        ["fcm"],
    ]
    assert room.queue.jobs[1].integration == "fcm"


async def test_raw_tokens_become_batches() -> None:
    """Raw tokens are split by the provider's batch size, doubled ones sent once."""
    room = Room()
    await room.send(recipient=_raw("a", "b", "a", "c", "d"))
    assert [job.work for job in room.queue.jobs] == [
        Send(TargetKind.TOKEN, Recipients(("a", "b", "c"))),
        Send(TargetKind.TOKEN, Recipients(("d",))),
    ]
    assert {job.recipient_type for job in room.queue.jobs} == {RecipientType.TOKENS}


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        (TargetKind.TOPIC, RecipientType.TOPIC),
        (TargetKind.CONDITION, RecipientType.CONDITION),
    ],
)
async def test_native_targets(kind: TargetKind, type_: RecipientType) -> None:
    """A provider's own topic or condition is one job with one target."""
    room = Room()
    await room.send(recipient=_raw("'a' in topics", kind=kind))
    (job,) = room.queue.jobs
    assert job.work == Send(kind, Recipients(("'a' in topics",)))
    assert job.recipient_type is type_


async def test_uid_is_made_when_missing() -> None:
    """Without a uid every send is its own, under a fresh UUID version 4."""
    room = Room()
    first, second = await room.send(), await room.send()
    assert first != second
    assert uuid.UUID(first).version == 4
    assert [payload.uid for payload, _ in room.queue.accepted] == [first, second]
    assert room.queue.accepted[0][0].analytics_uid == first
    assert room.uids.claims == {}


async def test_same_uid_and_content() -> None:
    """A repeat is answered the same and queued once."""
    room = Room()
    assert await room.send(uid="u") == "u"
    assert await room.send(uid="u", correlation_id="another call") == "u"
    assert len(room.queue.accepted) == 1
    assert room.uids.left_s("u") == 60
    assert room.uids.confirmed == {"u"}
    assert room.uids.claims["u"].epoch == ""  # nobody knows which data has it


class Watched(Room):
    """The service, with what knows the queue's data."""

    def __init__(self, **options: Any) -> None:
        self.marks = ProcessQueueMarks()
        clock = ManualClock(NOW_MS)
        queue = MemoryJobQueue(clock)
        self.watch = QueueWatch(queue, self.marks, place="here", clock=clock)
        super().__init__(queue=queue, clock=clock, watch=self.watch, **options)

    def lose(self, *, epoch: str = "first") -> None:
        """What the queue had is gone, the mark of its having had it too."""
        self.queue.data.lose(epoch=epoch)


@pytest.mark.parametrize("epoch", ["first", "second"])
@pytest.mark.parametrize("is_noticed", [True, False])
async def test_a_repeat_heals_what_the_queue_lost(
    epoch: str, *, is_noticed: bool
) -> None:
    """Emptied or cut off, noticed or not: queued once more, under the same push id."""
    room = Watched()
    await room.send(uid="u")
    push_id = room.queue.jobs[0].push_id
    room.lose(epoch=epoch)
    if is_noticed:
        await room.watch.check()
    with capture_logs() as logs:
        for _ in range(3):
            assert await room.send(uid="u") == "u"
    assert [payload.push_id for payload, _ in room.queue.accepted] == [push_id]
    assert [result for _, result in room.results] == [
        "accepted",
        "requeued",
        "repeated",
        "repeated",
    ]
    [line] = [line for line in logs if line["log_level"] == "warning"]
    assert (line["uid"], line["push_id"]) == ("u", push_id)
    await room.watch.check()
    await room.send(uid="u")
    assert room.uids.claims["u"].epoch == epoch


async def test_a_repeat_of_what_is_done_is_not_queued() -> None:
    """Where nothing was lost, nothing left of it means that it was sent."""
    room = Watched()
    await room.send(uid="u")
    room.queue.finish()
    await room.watch.check()
    await room.send(uid="u")
    assert room.queue.accepted == []
    assert room.results[-1][1] == "repeated"


async def test_a_repeat_after_a_move_is_not_queued() -> None:
    """The new queue does not know it, but nothing was lost."""

    class Moved(ProcessQueueMarks):
        async def is_replaced(self, epoch: str) -> bool:
            assert epoch == "first"
            return False

    room = Watched()
    await room.send(uid="u")
    other = Room(
        uids=room.uids,
        queue=MemoryJobQueue(room.clock, data=MemoryQueueData("second")),
    )
    other.service = SendService(
        other.queue,
        room.uids,
        clock=room.clock,
        enabled_providers=("fcm", "apns"),
        has_database=True,
        watch=QueueWatch(other.queue, Moved(), place="there", clock=room.clock),
    )
    assert await other.send(uid="u") == "u"
    assert other.queue.accepted == []


async def test_a_repeat_of_what_an_older_release_took_is_not_queued() -> None:
    """Nothing tells then which data has it."""
    room = Watched()
    await room.send(uid="u")
    room.uids.claims["u"].epoch = ""
    room.lose()
    await room.send(uid="u")
    assert room.queue.accepted == []


async def test_a_repeat_of_what_was_cancelled_is_not_queued() -> None:
    """Also where the queue has lost since that it ever had it."""
    room = Watched()
    await room.send(uid="u", send_at_ms=NOW_MS + 60_000)
    await room.service.cancel("u")
    room.lose(epoch="second")
    await room.watch.check()
    assert await room.send(uid="u", send_at_ms=NOW_MS + 60_000) == "u"
    assert room.queue.accepted == []


@pytest.mark.parametrize("ago_ms", [1000, 0])
async def test_a_repeat_of_what_expired_is_not_queued(ago_ms: int) -> None:
    """It would reach nobody, and was counted once."""
    room = Watched()
    await room.send(uid="u", expire_at_ms=NOW_MS - ago_ms)
    expired = list(room.expired)
    room.lose()
    await room.send(uid="u", expire_at_ms=NOW_MS - ago_ms)
    assert room.queue.accepted == []
    assert room.expired == expired
    assert room.results[-1][1] == "repeated"


async def test_a_repeat_while_the_queue_is_away_is_no_success() -> None:
    """Whether it still has the send cannot be known: the caller tries again."""
    room = Watched()
    await room.send(uid="u")
    room.queue.failure = QueueUnavailable()
    with pytest.raises(QueueUnavailable):
        await room.send(uid="u")
    room.queue.failure = None
    assert await room.send(uid="u") == "u"
    assert len(room.queue.accepted) == 1


async def test_the_queue_knows_a_send_longer_than_its_uid_lives() -> None:
    """By whatever clocks: a mark that ended first would queue a repeat twice."""
    rooms = Room(), Room(uids=None)
    for room, known_s in zip(rooms, (60 + ONCE_LONGER_S, 60), strict=True):
        await room.send(uid="u")
        room.queue.finish()
        # Its account was written down, and is no mark any more.
        room.queue.data.accounts.clear()
        assert await _is_known(room, after_s=known_s - 1)
        assert not await _is_known(room, after_s=known_s)


async def _is_known(room: Room, *, after_s: float) -> bool:
    """Whether the queue itself would take a repeat of the only send for one by then."""
    (push_id,) = room.queue.data.once_until_ms
    late = ManualClock(NOW_MS + int(after_s * 1000))
    queue = MemoryJobQueue(late, data=copy.deepcopy(room.queue.data))
    return not await queue.enqueue(make_payload(push_id), [], once_ttl_s=1)


DAYS_MS = 5 * 86_400_000


@pytest.mark.parametrize("remembers", [True, False])
async def test_a_send_for_later_is_known_to_the_queue_until_after_its_moment(
    remembers: bool,
) -> None:
    """The mark counts the delay in: a repeat that comes by then is queued no more.

    With a registry that is asked first it would be the one of a crash in between.
    """
    room = Room() if remembers else Room(uids=None)
    if remembers:
        room.uids.failures = [ConnectionError()]
        with pytest.raises(ConnectionError):
            await room.send(uid="u", send_at_ms=NOW_MS + DAYS_MS)
    else:
        await room.send(uid="u", send_at_ms=NOW_MS + DAYS_MS)
    room.queue.finish()
    for after_ms in (61_000, DAYS_MS, DAYS_MS + 59_000):
        room.clock.value_ms = NOW_MS + after_ms
        assert await room.send(uid="u", send_at_ms=NOW_MS + DAYS_MS) == "u"
        assert room.queue.accepted == []
    assert {result for _, result in room.results} <= {"accepted", "repeated"}


async def test_same_uid_and_other_content() -> None:
    """Other content under a known uid is a conflict that names the uid."""
    room = Room()
    await room.send(uid="u")
    with pytest.raises(Conflict, match="conflict: uid: "):
        await room.send(uid="u", bodies={"fcm": Body(b"{}")})
    assert len(room.queue.accepted) == 1


async def test_concurrent_repeats_queue_once() -> None:
    """Of many calls with one uid at once, one is queued and all get its answer."""
    room = Room()
    answers = await asyncio.gather(*(room.send(uid="u") for _ in range(20)))
    assert set(answers) == {"u"}
    assert len(room.queue.accepted) == 1


async def test_without_uid_memory_repeats_still_queue_once() -> None:
    """With nothing to remember uids, the queue itself recognises a repeat."""
    room = Room(uids=None)
    await room.send(uid="u")
    await room.send(uid="u")
    await room.send(uid="v")
    assert len(room.queue.accepted) == 2


class CrashingQueue(MemoryJobQueue):
    """Dies once, before or after the work was stored."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after = after
        self.crashed = False

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
        account: Account | None = None,
    ) -> bool:
        if not self.crashed and not self.after:
            self.crashed = True
            raise ConnectionError
        stored = await super().enqueue(
            payload, jobs, once_ttl_s=once_ttl_s, due_ms=due_ms, account=account
        )
        if not self.crashed:
            self.crashed = True
            raise ConnectionError
        return stored


@pytest.mark.parametrize("after", [False, True])
async def test_crash_around_the_queue(after: bool) -> None:
    """A crash before or after queueing neither loses nor doubles on the repeat."""
    room = Room(queue=CrashingQueue(after=after))
    with pytest.raises(ConnectionError):
        await room.send(uid="u")
    assert room.uids.confirmed == set()
    assert await room.send(uid="u") == "u"
    assert len(room.queue.accepted) == 1
    assert room.uids.confirmed == {"u"}


async def test_full_queue_accepts_the_repeat_later() -> None:
    """A refused send keeps its uid open for the same content."""
    room = Room(queue=MemoryJobQueue(limit=0))
    with pytest.raises(QueueFull):
        await room.send(uid="u")
    room.queue.limit = 1
    await room.send(uid="u")
    assert len(room.queue.accepted) == 1


@pytest.mark.parametrize(
    ("recipient", "counted"),
    [
        (TOPIC, ("fcm", RecipientType.FILTER, 1)),
        (_raw("a", "b"), ("fcm", RecipientType.TOKENS, 2)),
    ],
)
async def test_expired_at_call(
    recipient: DeviceFilter | RawRecipient,
    counted: tuple[str, RecipientType, int],
) -> None:
    """What expired before the call is accepted, not queued, and counted."""
    room = Room()
    for _ in range(2):
        assert await room.send(recipient=recipient, expire_at_ms=NOW_MS, uid="u") == "u"
    assert room.queue.accepted == []
    assert room.expired == [counted]
    with pytest.raises(Conflict):
        await room.send(recipient=recipient, uid="u")


async def test_each_request_is_counted_once() -> None:
    """Accepted, repeated, expired and refused requests are told apart."""
    room = Room()
    await room.send(uid="u")
    await room.send(uid="u")
    await room.send(expire_at_ms=NOW_MS)
    await room.send(recipient=_raw("a"))
    with pytest.raises(BadRequest):
        await room.send(recipient=_raw(""))
    room.queue.limit = 0
    with pytest.raises(QueueFull):
        await room.send()
    assert room.results == [
        (RecipientType.FILTER, "accepted"),
        (RecipientType.FILTER, "repeated"),
        (RecipientType.FILTER, "expired"),
        (RecipientType.TOKENS, "accepted"),
        (RecipientType.TOKENS, "refused"),
        (RecipientType.FILTER, "refused"),
    ]


def _print(**changes: Any) -> bytes:
    return fingerprint(replace(REQUEST, **changes))


def test_fingerprint_ignores_order_and_call() -> None:
    """Order of lists and JSON keys, uid and request id do not count."""
    assert _print(uid="a", correlation_id="b", traceparent="c") == _print()
    assert _print(recipient=DeviceFilter(topics=("a", "b"))) == _print(
        recipient=DeviceFilter(topics=("b", "a"))
    )
    assert _print(bodies={"fcm": Body(b'{"a":1,"b":2}')}) == _print(
        bodies={"fcm": Body(b'{ "b": 2, "a": 1 }')}
    )
    assert _print(recipient=_raw("a", "b")) == _print(recipient=_raw("b", "a"))


def test_fingerprint_tells_contents_apart() -> None:
    """Every part of the content changes it, also across a shifted border."""
    variants = [
        _print(),
        _print(recipient=DeviceFilter(topics=("new", "s"))),
        _print(recipient=DeviceFilter(users=("news",))),
        _print(recipient=DeviceFilter(topics=("news",), platforms=("ios",))),
        _print(recipient=DeviceFilter(topics=("news",), tags={"a": "b"})),
        _print(recipient=DeviceFilter(topics=("news",), tags={"ab": ""})),
        _print(recipient=DeviceFilter(topics=("news",), integrations=("fcm",))),
        _print(
            recipient=DeviceFilter(
                topics=("news",), provider_tokens=(ProviderTokens("fcm", ("t",)),)
            )
        ),
        _print(recipient=_raw("news")),
        _print(recipient=_raw("news", kind=TargetKind.TOPIC)),
        _print(recipient=_raw("news", provider="hms")),
        _print(bodies={"fcm": Body(b"{}")}),
        _print(bodies={"apns": MESSAGE}),
        _print(bodies={"fcm": Body(MESSAGE.message, {"a": "b"})}),
        _print(expire_at_ms=1000),
        _print(analytics_uid="x"),
        _print(integration="x"),
    ]
    assert len(set(variants)) == len(variants)


def test_raw_fields_name_every_raw_recipient_once() -> None:
    """Each raw recipient of the schema has one provider and kind, spelled like it."""
    for service in SERVICES.values():
        assert len({raw.kind for raw in service.raw_targets}) == len(
            service.raw_targets
        )
        for raw in service.raw_targets:
            assert re.match(service.section, raw.name)


SUBSCRIPTION = (
    '{"endpoint":"https://push.example/1","keys":{"auth":"AAECAwQFBgcICQoLDA0ODw",'
    '"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"}}'
)


async def test_raw_subscriptions_become_targets() -> None:
    """Checked as at registration; two spellings of one are one recipient."""
    rules = EndpointRules.of(["https://push.example"])
    site = Integration("webpush", "webpush", endpoint_rules=rules)
    known = Integrations([site])
    room = Room(enabled_providers=(), integrations=known, limits=DeviceLimits())
    request = SendRequest(
        _raw(SUBSCRIPTION, f" {SUBSCRIPTION}", provider="webpush"),
        {"webpush": Body(b"[1]")},
    )
    await room.service.send(request)
    (job,) = room.queue.jobs
    assert isinstance(job.work, Send)
    (target,) = job.work.recipients.targets
    assert parse_target(target).endpoint == "https://push.example/1"


async def test_raw_subscriptions_obey_the_endpoint_rules() -> None:
    """The index is named, and nothing is queued."""
    room = Room(enabled_providers=("webpush",), limits=DeviceLimits())
    request = SendRequest(
        _raw(SUBSCRIPTION, provider="webpush"), {"webpush": Body(b"{}")}
    )
    with pytest.raises(BadRequest) as caught:
        await room.service.send(request)
    assert caught.value.field == "recipient.webpush_tokens[0]"
    assert "allowed_endpoint_origins" in caught.value.message


# --- for later ---

LATER_MS = NOW_MS + 3_600_000


async def test_a_send_for_later_is_queued_for_then() -> None:
    """Its jobs are due at send_at, and it counts as scheduled."""
    room = Room()
    await room.send(send_at_ms=LATER_MS)
    [(payload, _)] = room.queue.accepted
    assert room.queue.due_ms == {payload.push_id: LATER_MS}
    assert room.scheduled == [RecipientType.FILTER]
    assert room.results == [(RecipientType.FILTER, "accepted")]


@pytest.mark.parametrize("send_at_ms", [0, 1000, NOW_MS])
async def test_a_moment_that_has_come_is_no_delay(send_at_ms: int) -> None:
    """0, the past and this moment mean now."""
    room = Room()
    await room.send(send_at_ms=send_at_ms)
    assert list(room.queue.due_ms.values()) == [0]
    assert room.scheduled == []


async def test_a_uid_is_remembered_until_after_its_moment() -> None:
    """A repeat that comes while the send still waits must find it."""
    room = Room()
    for _ in range(2):
        assert await room.send(uid="u", send_at_ms=LATER_MS) == "u"
    assert room.uids.left_s("u") == 60 + 3600
    assert len(room.queue.accepted) == 1
    assert len(room.scheduled) == 1


@pytest.mark.parametrize("expire_at_ms", [NOW_MS + 1000, LATER_MS])
async def test_an_end_before_the_beginning(expire_at_ms: int) -> None:
    """What could never be sent is a fault of the request, not an expired push."""
    with pytest.raises(BadRequest) as caught:
        await Room().send(send_at_ms=LATER_MS, expire_at_ms=expire_at_ms)
    assert caught.value.field == "notification.expire_at"
    await Room().send(send_at_ms=LATER_MS, expire_at_ms=LATER_MS + 1000)


@pytest.mark.parametrize("given", ["theirs", "ours"])
async def test_cancel_takes_back_what_waits(given: str) -> None:
    """By the uid that was given or answered; again, or unknown, is no error."""
    room = Room()
    changes: dict[str, Any] = {
        "recipient": _raw("a", "b", "c", "d"),
        "send_at_ms": LATER_MS,
    }
    if given == "theirs":
        changes["uid"] = "u"
    uid = await room.send(**changes)
    await room.service.cancel(uid)
    assert room.queue.accepted == []
    tokens = RecipientType.TOKENS
    assert room.cancelled == [("fcm", tokens, 3), ("fcm", tokens, 1)]
    await room.service.cancel(uid)
    await room.service.cancel("unknown")
    assert len(room.cancelled) == 2


async def test_each_integration_gets_its_own_jobs() -> None:
    """A filter is divided between them; taken back it still counts once."""
    given = [
        Integration("fcm", "fcm"),
        Integration("shop", "fcm", batch_size=1),
        Integration("off", "fcm", active=False),
    ]
    room = Room(integrations=Integrations(given), enabled_providers=())
    await room.send(uid="u", send_at_ms=LATER_MS)
    jobs = room.queue.jobs
    assert [(job.provider, job.integration) for job in jobs] == [
        ("fcm", ""),
        ("fcm", "shop"),
    ]
    filters = [job.work.filter for job in jobs if isinstance(job.work, Expand)]
    assert [filter.integrations for filter in filters] == [("fcm",), ("shop",)]
    await room.service.cancel("u")
    assert room.cancelled == [("fcm", RecipientType.FILTER, 1)]
    await room.send(recipient=_raw("a", "b"))
    assert [(job.integration, job.work) for job in room.queue.jobs] == [
        ("shop", Send(TargetKind.TOKEN, Recipients(("a",)))),
        ("shop", Send(TargetKind.TOKEN, Recipients(("b",)))),
    ]
    with pytest.raises(BadRequest, match="not active"):
        await room.send(integration="off")


async def test_a_cancelled_send_is_not_queued_by_its_repeat() -> None:
    """The uid was accepted, and what was taken back stays so."""
    room = Room()
    await room.send(uid="u", send_at_ms=LATER_MS)
    await room.service.cancel("u")
    assert await room.send(uid="u", send_at_ms=LATER_MS) == "u"
    assert room.queue.accepted == []


@pytest.mark.parametrize("uid", ["", "u" * 256, "a\0b"])
async def test_what_is_no_uid_cancels_nothing(uid: str) -> None:
    """The field is named."""
    with pytest.raises(BadRequest) as caught:
        await Room().service.cancel(uid)
    assert caught.value.field == "uid"


async def test_cancel_where_pushes_are_off() -> None:
    """Without a queue there is nothing that could be cancelled."""
    with pytest.raises(NotAvailable):
        await Room(queue=None).service.cancel("u")


# --- limits and templates ---

RATE = RateRule((RateLimit(1, 1000),), "device.user")
WINDOW = TimeWindow(0, 3600)
HI = Templating({"en": {"hi": "Hi"}})


async def test_options_travel_with_the_payload() -> None:
    """Once per request; the walk is told which columns it has to bring."""
    room = Room()
    await room.send(
        rate=RATE,
        window=WINDOW,
        templating=HI,
        reliable=True,
        bodies={"fcm": Body(b'{"a":"{{.l10n.hi}}"}')},
    )
    [(payload, [job])] = room.queue.accepted
    assert payload.rate == replace(RATE, key="{{.device.user}}")
    assert (payload.window, payload.templating, payload.reliable) == (WINDOW, HI, True)
    assert isinstance(job.work, Expand)
    assert job.work.details == {Detail.USER, Detail.TIMEZONE, Detail.LOCALE}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("limit_strategy", {"rate": RATE}),
        ("limit_strategy", {"window": WINDOW}),
        ("localizations", {"templating": HI}),
        ("use_templating", {"templating": Templating()}),
    ],
)
async def test_options_that_need_devices(field: str, changes: dict[str, Any]) -> None:
    """A raw token has no user, no zone and no language."""
    with pytest.raises(BadRequest, match="only for devices chosen by a filter") as got:
        await Room().send(recipient=_raw("a"), **changes)
    assert got.value.field == field


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("limit_strategy.rate_limit.policies", {"rate": RateRule(())}),
        (
            "notification.fcm.message",
            {"bodies": {"fcm": Body(b'{"a":"{{"}')}, "templating": HI},
        ),
        ("localizations", {"templating": Templating({"en": {"a": "x" * 300}})}),
        ("send_at", {"send_at_ms": -1000}),
        ("send_at", {"send_at_ms": NOW_MS * 1000}),
    ],
)
async def test_bad_options(field: str, changes: dict[str, Any]) -> None:
    """They are found out at accept, and nothing was stored."""
    room = Room()
    with pytest.raises(BadRequest) as caught:
        await room.send(uid="u", **changes)
    assert caught.value.field == field
    assert room.uids.claims == {}


async def test_without_templating_braces_are_text() -> None:
    """A body is passed on as it is unless rendering was asked for."""
    room = Room()
    body = Body(b'{"a":"{{nonsense"}')
    await room.send(bodies={"fcm": body})
    assert room.queue.accepted[0][0].bodies == {"fcm": body}


async def test_without_a_database_raw_sends_keep_their_schedule() -> None:
    """send_at and cancel work by the queue alone; what needs devices is 108."""
    room = Room(has_database=False)
    uid = await room.send(recipient=_raw("a"), send_at_ms=LATER_MS, reliable=True)
    assert list(room.queue.due_ms.values()) == [LATER_MS]
    await room.service.cancel(uid)
    assert room.queue.accepted == []
    with pytest.raises(NotAvailable):
        await room.send(send_at_ms=LATER_MS)


@pytest.mark.parametrize(
    "changes",
    [
        {"send_at_ms": LATER_MS},
        {"reliable": True},
        {"rate": RATE},
        {"rate": replace(RATE, drop=True)},
        {"window": WINDOW},
        {"templating": HI},
        {"templating": replace(HI, use_meta=True)},
    ],
)
def test_options_are_part_of_the_fingerprint(changes: dict[str, Any]) -> None:
    """The same uid with another option is another content."""
    assert fingerprint(replace(REQUEST, **changes)) != fingerprint(REQUEST)


def test_the_fingerprint_of_a_plain_send_is_as_before() -> None:
    """A repeat that meets a newer release is still known."""
    assert fingerprint(REQUEST).hex().startswith("430579a8f021b96f")


async def test_a_send_for_later_is_known_to_the_funnel() -> None:
    """With its hour, once, under the uid that its results will have."""
    room = Room()
    for _ in range(2):
        await room.send(uid="u", analytics_uid="a", send_at_ms=LATER_MS)
    (row,) = room.rows
    assert row == event_row(
        SendEvent.SCHEDULED,
        "a",
        at_ms=NOW_MS,
        due_ms=LATER_MS,
        type="filter",
        reason="send_at",
        send_uid="u",
    )
    await room.send(uid="now")
    assert len(room.rows) == 1


async def test_a_cancelled_send_is_known_to_the_funnel() -> None:
    """Not by a cancel that took nothing back."""
    room = Room()
    await room.send(uid="u", send_at_ms=LATER_MS)
    for uid in ("u", "u", "unknown"):
        await room.service.cancel(uid)
    assert [(row.status, row.uid) for row in room.rows] == [
        ("scheduled", "u"),
        ("cancelled", "u"),
    ]


async def test_a_send_that_came_too_late_is_known_to_the_funnel() -> None:
    """It was accepted, and nothing was sent."""
    room = Room()
    await room.send(uid="u", expire_at_ms=NOW_MS)
    assert [(row.status, row.uid) for row in room.rows] == [("expired", "u")]
